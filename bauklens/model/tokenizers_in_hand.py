"""Turns any kind of tokenizer into one with the methods that lenses call, which are those of transformers.

These are ``tokenizer(text, add_special_tokens=...)["input_ids"]``, ``convert_ids_to_tokens(id)`` and ``decode(ids)``.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from bauklens.errors import LensError

_NEEDED = (
    "pass a tokenizer or processor of transformers, a tokenizers.Tokenizer, an encoding of tiktoken, an object with "
    "encode() and decode(), or None if the prompt is token ids"
)


def tokenizer_of(given: Any) -> Any:
    """A tokenizer with the methods that lenses call.

    Args:
        given: a tokenizer of transformers, which is returned unchanged; a processor, which holds one; a
            ``tokenizers.Tokenizer``; an encoding of tiktoken; a SentencePieceProcessor; any object with
            ``encode(text)`` -> ids and ``decode(ids)`` -> text; or None.

    Raises:
        LensError: it is none of these.
    """
    if isinstance(given, (str, bytes, list, tuple, dict)) or hasattr(given, "ndim"):
        raise LensError(f"the tokenizer is missing: got {_kind(given)} in its place; {_NEEDED}")
    if isinstance(given, type):
        raise LensError(f"the tokenizer is the class {given.__name__}: pass an instance, as from_pretrained returns")
    if given is None or (callable(given) and hasattr(given, "convert_ids_to_tokens")):
        return given
    held = getattr(given, "tokenizer", None)
    if held is not None and not isinstance(held, str):
        return _with_template(tokenizer_of(held), given)
    library = type(given).__module__.partition(".")[0]
    if library == "tokenizers" and hasattr(given, "to_str"):
        return _of_transformers(given)
    if hasattr(given, "decode_single_token_bytes"):
        return TiktokenTokenizer(given)
    if hasattr(given, "id_to_piece") and hasattr(given, "encode"):
        return EncodingTokenizer(given, given.id_to_piece)
    if hasattr(given, "encode") and hasattr(given, "decode"):
        return EncodingTokenizer(given)
    if _is_processor(given):
        raise LensError(
            f"the processor, a {type(given).__name__}, holds no tokenizer: pass a complete one, as "
            "AutoProcessor.from_pretrained returns, or the tokenizer"
        )
    raise LensError(f"the tokenizer is a {type(given).__name__}: {_NEEDED}")


class EncodingTokenizer:
    """An object with ``encode(text)`` and ``decode(ids)`` that is called like a tokenizer of transformers.

    Args:
        encoding: the object.
        piece_of: id -> the token as its vocabulary writes it; by default, the text of that id.
    """

    chat_template = None
    is_fast = False
    bos_token_id = eos_token_id = pad_token_id = unk_token_id = None

    def __init__(self, encoding: Any, piece_of: Any = None) -> None:
        self.encoding, self._piece_of = encoding, piece_of or self._text_of

    def __call__(self, text: str = "", *, text_target: str = "", **_: Any) -> Mapping[str, list[int]]:
        """``{"input_ids": ids}``; special tokens are those that the object itself adds."""
        return {"input_ids": self._ids(text or text_target)}

    def convert_ids_to_tokens(self, token_id: int) -> Any:
        """The token as text or bytes; None if the id does not exist."""
        try:
            return self._piece_of(int(token_id))
        except Exception:  # each library has its own error for an unknown id
            return None

    def decode(self, token_ids: Iterable[int], **_: Any) -> str:
        """The text of several ids; those that do not exist are left out."""
        known = [int(each) for each in token_ids if self.convert_ids_to_tokens(each) is not None]
        return str(self.encoding.decode(known))

    def _ids(self, text: str) -> list[int]:
        found = self.encoding.encode(text)
        found = getattr(found, "ids", found)
        ids = found.tolist() if hasattr(found, "tolist") else list(found)
        if not all(isinstance(each, int) for each in ids):
            raise LensError(f"encode() of {type(self.encoding).__name__} does not return a list of token ids")
        return ids

    def _text_of(self, token_id: int) -> str:
        return str(self.encoding.decode([token_id]))


class TiktokenTokenizer(EncodingTokenizer):
    """An encoding of tiktoken. Special tokens in a text are recognised, as in tokenizers of transformers."""

    def __init__(self, encoding: Any) -> None:
        super().__init__(encoding, encoding.decode_single_token_bytes)
        self.eos_token_id = getattr(encoding, "eot_token", None)
        self.vocab_size = encoding.n_vocab

    def _ids(self, text: str) -> list[int]:
        return list(self.encoding.encode(text, allowed_special="all"))


def _of_transformers(given: Any) -> Any:
    """A ``tokenizers.Tokenizer`` as one of transformers; its truncation and padding are turned off."""
    from transformers import PreTrainedTokenizerFast

    unknown = getattr(given.model, "unk_token", None)
    known = {"unk_token": unknown} if isinstance(unknown, str) else {}
    return PreTrainedTokenizerFast(tokenizer_object=given, **known)


def _with_template(tokenizer: Any, processor: Any) -> Any:
    """A processor's tokenizer, with the processor's chat template if it has none itself."""
    template = getattr(processor, "chat_template", None)
    if not template or getattr(tokenizer, "chat_template", None):
        return tokenizer
    tokenizer = copy.copy(tokenizer)
    tokenizer.chat_template = template
    return tokenizer


def _kind(given: Any) -> str:
    return "a text" if isinstance(given, str) else f"a {type(given).__name__}"


def _is_processor(given: Any) -> bool:
    """Whether this is, or holds, a processor of images or sounds."""
    holds = ("image_processor", "feature_extractor", "audio_processor", "video_processor")
    own = ("image_processor_type", "feature_extractor_type", "preprocess", "feature_size", "sampling_rate")
    return callable(given) and any(hasattr(given, name) for name in (*holds, *own))
