"""Files of anyone: what is read and what is refused; and that writing loses nothing."""

import errno
import os
import resource
import socket
import stat
import threading
from pathlib import Path

import pytest

from bauklens import LensError, LensResult
from bauklens.files import write_atomically
from bauklens.reading_files import DEEPEST, parse_json, read_bytes, read_text
from tests import fuzz
from tests.made import made


@pytest.fixture
def at_umask():
    """Sets the process's umask for a test."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


class TestWriting:
    @pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
    def test_a_new_file_has_the_permissions_that_the_system_gives(self, tmp_path, at_umask, mask):
        at_umask(mask)
        write_atomically(tmp_path / "new", b"new")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~mask

    def test_the_umask_of_the_process_is_left_alone(self, tmp_path, at_umask, monkeypatch):
        at_umask(0o027)
        called = []
        monkeypatch.setattr(os, "umask", called.append)
        writers = [threading.Thread(target=write_atomically, args=(tmp_path / f"{n}", b"x")) for n in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert not called
        assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o640}

    def test_an_old_file_keeps_its_permissions(self, tmp_path):
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "old").chmod(0o604)
        write_atomically(tmp_path / "old", b"new")
        assert (tmp_path / "old").read_bytes() == b"new"
        assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604

    def test_what_is_new_is_on_the_disk_before_the_old_is_replaced(self, tmp_path, monkeypatch):
        (tmp_path / "old").write_bytes(b"old")
        synced = []
        monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "old").read_bytes()))
        write_atomically(tmp_path / "old", b"new")
        assert synced == [b"old"]

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        def full(_):
            raise OSError(errno.EIO, "Input/output error")

        (tmp_path / "old").write_bytes(b"old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(LensError, match=r"cannot write .*old: Input/output error"):
            write_atomically(tmp_path / "old", b"new")
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]

    def test_a_result_for_which_the_disk_has_no_room_leaves_the_old_file_and_nothing_else(self, tmp_path):
        made().save(tmp_path / "old.safetensors")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(LensError, match=r"cannot write .*old\.safetensors: .*File too large") as error:
                made(100, 400, 4).save(tmp_path / "old.safetensors")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(str(error.value).splitlines()) == 1
        assert [LensResult.load(each) for each in tmp_path.iterdir()] == [made()]

    def test_a_result_goes_into_a_pipe_as_into_a_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.safetensors")
        reader = os.open(tmp_path / "pipe.safetensors", os.O_RDONLY | os.O_NONBLOCK)
        made().save(tmp_path / "pipe.safetensors")
        (tmp_path / "read.safetensors").write_bytes(
            os.read(reader, 1 << 20)
        )  # safetensors writes its notes in any order
        os.close(reader)
        assert LensResult.load(tmp_path / "read.safetensors") == made()

    def test_a_loop_of_links_is_refused(self, tmp_path):
        (tmp_path / "one").symlink_to(tmp_path / "other")
        (tmp_path / "other").symlink_to(tmp_path / "one")
        with pytest.raises(LensError, match=r"cannot write .*symbolic links"):
            made().to_html(tmp_path / "one")

    def test_a_pipe_that_nothing_reads_is_refused_and_one_that_is_read_is_written(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(LensError, match=r"cannot write .*pipe: "):
            write_atomically(tmp_path / "pipe", b"x")
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        write_atomically(tmp_path / "pipe", b"told")
        assert os.read(reader, 10) == b"told"
        os.close(reader)


class TestReading:
    @pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "/dev/zero", "/dev/tty"])
    def test_only_regular_files_are_read(self, tmp_path, kind):
        path = tmp_path / kind
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as unix:
                unix.bind(str(path))
        for read in (read_bytes, read_text, LensResult.load):
            with pytest.raises(LensError) as error:
                read(path)
            assert len(str(error.value).splitlines()) == 1

    @pytest.mark.parametrize("path", [None, 5, b"lens.json", ["lens.json"]])
    def test_what_is_no_path_is_one_clear_error(self, path):
        for use in (LensResult.load, made().save, lambda path: write_atomically(path, b"")):
            with pytest.raises(LensError, match="a file's path must be text; got "):
                use(path)

    def test_a_loop_of_links_is_one_clear_error(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(LensError, match=r"cannot read .*loop: Too many levels of symbolic links"):
            LensResult.load(tmp_path / "loop")

    def test_a_file_may_have_so_many_bytes(self, tmp_path):
        made().save(tmp_path / "lens.json")
        size = (tmp_path / "lens.json").stat().st_size
        assert LensResult.load(tmp_path / "lens.json", largest=size) == made()
        with pytest.raises(LensError, match=r"it is larger than .* GB: pass a smaller file, or .*largest="):
            LensResult.load(tmp_path / "lens.json", largest=size - 1)

    def test_a_file_of_a_terabyte_is_refused_before_it_is_read(self, tmp_path):
        with (tmp_path / "large").open("wb") as file:
            file.truncate(10**12)
        with pytest.raises(LensError, match="it is larger than 1 GB"):
            LensResult.load(tmp_path / "large")

    def test_text_is_utf_8_with_plain_line_ends(self, tmp_path):
        (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
        assert read_text(tmp_path / "a") == "a\nb\nc\n"
        (tmp_path / "b").write_bytes(b"\xff")
        with pytest.raises(LensError, match="it is not UTF-8 text"):
            read_text(tmp_path / "b")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{", "it is not JSON"),
            (b'"\xff"', "it is not JSON in UTF-8"),
            ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "nested more than 100 deep"),
            ("[" * 50_000 + "]" * 50_000, "nested more than 100 deep"),
            ("-" + "1" * 6_000, "too many digits"),
        ],
    )
    def test_json_has_limits(self, text, told):
        with pytest.raises(LensError, match=told):
            parse_json(text)

    def test_what_is_within_the_limits_is_read(self):
        assert parse_json("[" * DEEPEST + "]" * DEEPEST)
        assert parse_json("1" * 4_000) == int("1" * 4_000)


def test_damaged_files_are_refused_in_a_line_or_can_be_shown():
    outcomes = fuzz.outcomes(300)
    shown, refused = outcomes.pop(fuzz.SHOWN), outcomes.pop(fuzz.REFUSED)
    assert outcomes == {}
    assert len(shown) > 20
    assert len(refused) > 100


def test_the_fuzzer_finds_what_is_wrong(monkeypatch):
    """A reader that lets a NaN of the check through, as it once did, does not get past it."""
    monkeypatch.setattr("bauklens.result.result.require_sound", lambda _: None)
    found = fuzz.outcomes(120)
    assert set(found) - {fuzz.SHOWN, fuzz.REFUSED}


def test_a_file_that_a_link_leads_to_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "link").symlink_to("lens.json")
    write_atomically(tmp_path / "link", b"{}")
    assert (tmp_path / "link").is_symlink()
    assert Path(tmp_path / "lens.json").read_bytes() == b"{}"
