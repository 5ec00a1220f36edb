"""Token id -> text, and text -> text with every character visible."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\xa0": "⍽"}
_UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}
_IGNORED = {
    *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
}
"""Invisible letters and marks: Unicode's default ignorable code points, and the blank Braille pattern."""

CONTINUED = "←"
"""The head of a column whose token continues a character that an earlier one began."""

_UNIT = re.compile(r"⟨[89A-F][0-9A-F]⟩|.", re.DOTALL)
"""A byte as :func:`token_texts` writes it, or a character."""

_LEADS = {4: "F0", 3: "E0", 2: "C2"}
"""Bytes of a character in UTF-8 -> the least that its first byte can be."""

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte: printable Latin-1 as itself, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_alphabet()


def token_texts(tokenizer: Any, token_ids: Iterable[int]) -> dict[int, str]:
    """The text of each id, as it appears in running text (with its leading space).

    Args:
        tokenizer: a transformers tokenizer, or None.
        token_ids: ids; repeated ones are looked up once.

    Returns:
        id -> text. Bytes of incomplete characters are shown as ``⟨E2⟩``; without a tokenizer, texts are ``<id>``.
    """
    return {token_id: _token_text(tokenizer, token_id) for token_id in dict.fromkeys(int(each) for each in token_ids)}


def _token_text(tokenizer: Any, token_id: int) -> str:
    if tokenizer is None:
        return f"<{token_id}>"
    piece = _piece(tokenizer, token_id)
    if piece is None:
        return f"<{token_id}>"
    if isinstance(piece, bytes):
        return _bytes_text(piece)
    text: str = tokenizer.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if "\ufffd" in text:
        raw = _piece_bytes(piece)
        return text if raw is None or raw.decode("utf-8", "replace") != text else _bytes_text(raw)
    if piece.startswith("▁"):  # SentencePiece drops the first space of a text
        return " " * (len(piece) - len(piece.lstrip("▁"))) + text.lstrip(" ")
    return text or piece


def _piece(tokenizer: Any, token_id: int) -> str | bytes | None:
    """A token's entry in the vocabulary, or None, as the unembedding often has more rows than the vocabulary."""
    try:
        piece: str | bytes | None = tokenizer.convert_ids_to_tokens(token_id)
    except (IndexError, KeyError, ValueError, OverflowError):  # slow tokenizers raise these for an unknown id
        return None
    return piece


def _piece_bytes(piece: str) -> bytes | None:
    byte = _BYTE_PIECE.fullmatch(piece)
    if byte:
        return bytes.fromhex(byte[1])
    return bytes(_BYTES[each] for each in piece) if all(each in _BYTES for each in piece) else None


def _bytes_text(raw: bytes) -> str:
    """UTF-8 text, with every byte that is not part of a character as ``⟨E2⟩``."""
    text = raw.decode("utf-8", "surrogateescape")
    return "".join(f"⟨{ord(each) - 0xDC00:02X}⟩" if "\udc80" <= each <= "\udcff" else each for each in text)


def column_heads(tokens: Sequence[str], positions: Iterable[int]) -> list[tuple[str, str]]:
    """What the head of each column shows, so that a character of several tokens can be read.

    The first of its columns shows the character, and the others a mark; bytes that form no character stay as they are.

    Args:
        tokens: texts as :func:`token_texts` gives them.
        positions: their positions; only consecutive tokens form a character.

    Returns:
        For each token its head, and the characters that it is a part of; empty for all other tokens.

    >>> column_heads(["a", "⟨F0⟩⟨9F⟩⟨98⟩", "⟨80⟩"], [0, 1, 2])
    [('a', ''), ('😀', '😀'), ('←', '😀')]
    """
    units = [(column, unit) for column, token in enumerate(tokens) for unit in _UNIT.findall(token)]
    heads, wholes = [""] * len(tokens), [""] * len(tokens)
    place, numbers = 0, list(positions)
    while place < len(units):
        columns, text = _character(units[place : place + 4], numbers)
        for number, column in enumerate(dict.fromkeys(columns)):
            heads[column] += CONTINUED if number else text
            wholes[column] += text if columns[0] < columns[-1] else ""
        place += len(columns)
    return list(zip(heads, wholes, strict=True))


def _character(units: Sequence[tuple[int, str]], positions: Sequence[int]) -> tuple[list[int], str]:
    """The columns of the first units, (column, character or byte), that form a character together, and that character.

    It is the first unit itself, unless that begins a character that ends in another column.
    """
    column, first = units[0]
    size = next((size for size, least in _LEADS.items() if len(first) > 1 and first[1:3] >= least), 1)
    columns = [each for each, _ in units[:size]]
    apart = any(positions[after] - positions[before] != after - before for before, after in pairwise(columns))
    if column < columns[-1] and not apart:
        with suppress(ValueError):  # not bytes, or not a whole character
            return columns, bytes.fromhex("".join(unit[1:3] for _, unit in units[:size])).decode()
    return [column], first


def visible(text: str) -> str:
    """A text with spaces, line ends, tabs and invisible characters written out.

    >>> visible(" Paris\\n")
    '␣Paris↵'
    >>> visible("a\\u202eb")
    'a⟨U+202E⟩b'
    """
    seen = "".join(_visible_character(each) for each in text)
    return "◌" + seen if seen and unicodedata.category(seen[0]).startswith("M") else seen


def _visible_character(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    unseen = unicodedata.category(character) in _UNSEEN or ord(character) in _IGNORED
    return f"⟨U+{ord(character):04X}⟩" if unseen else character


def printable(text: str) -> str:
    """A text that is safe for a terminal: spaces are kept, but nothing can move the cursor or set a colour.

    >>> printable("a b\x1b[31m")
    'a b⟨U+001B⟩[31m'
    """
    return "".join(each if each == " " else _visible_character(each) for each in text)
