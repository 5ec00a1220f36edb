"""Files of texts: running text, .jsonl and .parquet, whoever wrote them."""

import io
import os
import re
import sys

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from bauklens import LensError
from bauklens.cli.text_files import read_texts


def refuses(path, message):
    with pytest.raises(LensError, match=re.escape(message)) as raised:
        list(read_texts(path))
    assert "\n" not in str(raised.value)


def test_running_text_is_cut_into_blocks_of_whole_lines(tmp_path):
    path = tmp_path / "book.txt"
    whole = "A short line of a book.\n\nAnother one, naïve.\n" * 1500
    path.write_bytes(b"\xef\xbb\xbf" + whole.replace("\n", "\r\n").encode())
    texts = read_texts(path)
    blocks = list(texts)
    assert "".join(blocks) == whole
    assert all(8_000 <= len(block) < 8_100 and block.endswith("\n") for block in blocks[:-1])
    assert list(texts) == blocks  # read again


def test_a_line_without_end_is_cut_at_words(tmp_path):
    path = tmp_path / "book"
    path.write_text("naïve words " * 5000, encoding="utf-8")
    blocks = list(read_texts(str(path)))
    assert "".join(blocks) == "naïve words " * 5000
    assert all(len(block) < 10_000 and block.endswith(" ") for block in blocks)
    path.write_text("語" * 30_000, encoding="utf-8")
    assert "".join(read_texts(path)) == "語" * 30_000


def test_a_heading_is_not_a_text_of_its_own(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("Title\n" + "word " * 4000)
    assert next(iter(read_texts(path))).startswith("Title\nword")


def test_objects_have_a_text_or_a_prompt(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\n\n{"prompt": "two", "title": "x"}\r\n{"text": "\\u00e9\\n"}')
    assert list(read_texts(path)) == ["one", "two", "é\n"]
    for line, message in (
        ('{"text": 3}', 'line 2: looked for an object with a "text" that is a string'),
        ('["text"]', "line 2: looked for an object"),
        ("{", "line 2: it is not JSON"),
        ("[" * 5000, "line 2: it is"),
    ):
        path.write_text('{"text": "one"}\n' + line)
        refuses(path, message)


def test_what_is_not_utf8_is_told_with_its_line(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"fine\nfine\nbad \xff\n")
    refuses(path, f"{path}, line 3: it is not UTF-8 text")
    path.write_bytes("fine".encode("utf-16"))
    refuses(path, "line 1: it is not UTF-8 text")
    path.write_bytes(b"fine\ncut \xc3")
    refuses(path, "line 2: it is not UTF-8 text")


def test_a_parquet_file_has_a_column_of_texts(tmp_path):
    path = tmp_path / "texts.parquet"
    many = [f"text {number}" for number in range(200)]
    pandas.DataFrame({"id": range(201), "text": [*many, None]}).to_parquet(path)
    texts = read_texts(path)
    assert list(texts) == list(texts) == [*many, ""]
    pandas.DataFrame({"text": pandas.Categorical(["a", "b", "a"])}).to_parquet(path)
    assert list(read_texts(path)) == ["a", "b", "a"]
    pandas.DataFrame({"body": ["a"], "title": ["b"]}).to_parquet(path)
    refuses(path, "looked for a column 'text', but found body, title")
    pandas.DataFrame({"text": [1]}).to_parquet(path)
    refuses(path, "its column 'text' has int64 instead of texts")
    bad = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), path)
    refuses(path, "after row 0: 'utf-8' codec can't decode")
    path.write_bytes(b"PAR1 and no more")
    refuses(path, "it is damaged, or not a .parquet file")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "texts.parquet"
    pandas.DataFrame({"text": ["a"]}).to_parquet(path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refuses(path, "a .parquet file needs pyarrow: pip install 'bauklens[frame]'")


def test_only_regular_files_with_texts_are_read(tmp_path):
    refuses(tmp_path / "none.txt", "No such file or directory")
    refuses(tmp_path, "it is a folder")
    refuses("a\0b", "embedded null byte")
    os.mkfifo(tmp_path / "pipe")
    refuses(tmp_path / "pipe", "it is not a regular file")
    for name, content in (("empty.txt", "\n \n"), ("empty.jsonl", "\n"), ("empty", "")):
        (tmp_path / name).write_text(content)
        refuses(tmp_path / name, f"{tmp_path / name} contains no texts")


def test_texts_say_whether_they_can_be_read_again(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    assert [read_texts(each).is_read_once for each in ("-", tmp_path / "a.txt")] == [True, False]


def test_standard_input_is_read_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve\n".encode())))
    texts = read_texts("-")
    assert list(texts) == ["naïve\n"]
    with pytest.raises(LensError, match="standard input can be read only once: pass a file"):
        list(texts)
    monkeypatch.setattr(sys, "stdin", None)
    refuses("-", "standard input is closed")
