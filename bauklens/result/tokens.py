"""Token id -> text, and text -> text with every character visible."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\xa0": "⍽"}
_UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}
_IGNORED = {
    *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
}
"""Letters and marks without a shape: Unicode's default ignorable code points, and the blank Braille pattern."""

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
        id -> text. Bytes that are not a complete character read ``⟨E2⟩``; without a tokenizer, texts read ``<id>``.
    """
    return {token_id: _token_text(tokenizer, token_id) for token_id in dict.fromkeys(int(each) for each in token_ids)}


def _token_text(tokenizer: Any, token_id: int) -> str:
    if tokenizer is None:
        return f"<{token_id}>"
    piece: str | bytes | None = tokenizer.convert_ids_to_tokens(token_id)
    if piece is None:  # the head is often wider than the vocabulary
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


def _piece_bytes(piece: str) -> bytes | None:
    byte = _BYTE_PIECE.fullmatch(piece)
    if byte:
        return bytes.fromhex(byte[1])
    return bytes(_BYTES[each] for each in piece) if all(each in _BYTES for each in piece) else None


def _bytes_text(raw: bytes) -> str:
    """UTF-8 text, with every byte that is not part of a character as ``⟨E2⟩``."""
    text = raw.decode("utf-8", "surrogateescape")
    return "".join(f"⟨{ord(each) - 0xDC00:02X}⟩" if "\udc80" <= each <= "\udcff" else each for each in text)


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
