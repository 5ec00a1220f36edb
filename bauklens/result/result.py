"""LensResult: the result of a lens, as frozen arrays with their provenance. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import is_whole_number
from bauklens.errors import LensError
from bauklens.result.attended import Attended, Attending
from bauklens.result.checked import in_words
from bauklens.result.displayed import Displayed
from bauklens.result.edited import edited
from bauklens.result.edited_cells import edited_cells
from bauklens.result.exported import Exported
from bauklens.result.followed import Followed
from bauklens.result.frozen import frozen, frozen_array, frozen_floats, require
from bauklens.result.listed import show_lists_of
from bauklens.result.mapped import decoder_called, mapped_in_words
from bauklens.result.pictures import Picture
from bauklens.result.soundness import require_sound, require_unicode
from bauklens.result.stored import Stored
from bauklens.result.targets import Target
from bauklens.result.tracked import Tracked
from bauklens.vocabulary import LOGIT, PREDICTED, TOKENS

if TYPE_CHECKING:
    pass

_DTYPES = {
    "token_ids": np.int64,
    "positions": np.int64,
    "top_ids": np.int64,
    "top_probs": np.float32,
}


@dataclass(frozen=True, eq=False, repr=False)
class LensResult(Attending, Followed, Stored, Exported, Displayed):
    """The table of a lens for one prompt: arrays run (layer, position, k); tokens are keyed by id, never by text.

    Attributes:
        model: name of the model.
        prompt: the text of the prompt.
        stream: one of the streams of :func:`bauklens.logit_lens`, or ``"given"`` for states that the caller passed in.
        decoder: name of what mapped a state to the final basis; ``"logit"`` means it was used as it is.
        norm: ``"own"``, ``"final"`` or None; see :func:`bauklens.logit_lens`.
        token_ids: (position,) int64, the ids of the tokens at these positions.
        tokens: (position,), their texts.
        positions: (position,) int64, their positions in the prompt, from 0.
        layers: (layer,), the labels of the rows: ``"embed"``, ``"0"``, ``"1"``, ...
        top_ids: (layer, position, k) int64, the most probable tokens, most probable first.
        top_probs: (layer, position, k) float32, their probabilities, 0..1.
        magnitude: (layer, position) float32, the L2 norm of the state that was decoded; NaN if the result was read
            from another tool's file that does not record it.
        vocabulary: id -> text, for every id that occurs.
        check: ``"max_abs_logit_difference"``: the largest difference, at the ``"positions"`` shown (how many),
            between the logits decoded here from the last block's output and the model's own logits; None if the forward
            pass stopped before the last block because no row needed it. ``"max_abs_probability_difference"``: the
            largest difference, in ``"cells"`` of the other rows (how many), between the probabilities shown and those
            of an early exit of the model; None without such cells.
        generated_from: the position of the first generated token; None if all tokens are the prompt's.
        measures: name -> (layer, position) float32, in the units of :data:`bauklens.MEASURES`, NaN if a cell has no
            value; ``"magnitude"`` and ``"max_probability"`` are always present.
        targets: the tokens and words that were followed (:class:`bauklens.result.targets.Target`).
        tracked: further tokens whose probability and rank are known in every cell (:class:`bauklens.Tracked`); None if
            there are none.
        unmapped: the labels of rows that the decoder has no map for; they are shown as in the logit lens.
        quality: how good the decoder is at each row, as far as known, measured on text that it was not fitted on:
            ``"kl"``, the mean KL divergence to the model's own prediction in nats, and ``"agreement"``, how often the
            most probable tokens are the same, 0..1; each (layer,) float32, NaN if not known.
        notes: what a reader should know about the prompt, the model or the result; sentences shown under the table.
        columns: (position,), the names of positions that are not tokens, such as ``"image 1, row 3, column 5"``; an
            empty text for a token. Empty if all are tokens.
        pictures: the pictures of the prompt, and which positions read which part (:class:`bauklens.Picture`).
        predicts: ``"tokens"``; or ``"labels"``, if the model is a classifier: then ``top_ids``, the vocabulary and the
            targets are its labels, and ``tokens`` and ``token_ids`` belong to the text that it reads.
        attended: from which positions each block's attention takes information
            (:class:`bauklens.result.attended.Attended`), if ``attention=`` was passed; see :meth:`attention`.
        provenance: model, revision, dtype, device, package versions, date, and all arguments.
        read_from: what this was read from, such as ``"the file lens.json"``; the check is then that file's claim.
            None if it was made here. It is not saved, and does not count for equality.
    """

    model: str
    prompt: str
    stream: str
    decoder: str
    norm: str | None
    token_ids: np.ndarray
    tokens: tuple[str, ...]
    positions: np.ndarray
    layers: tuple[str, ...]
    top_ids: np.ndarray
    top_probs: np.ndarray
    magnitude: np.ndarray
    vocabulary: Mapping[int, str]
    check: Mapping[str, float | None]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    generated_from: int | None = None
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)
    targets: Sequence[Target] = ()
    unmapped: tuple[str, ...] = ()
    quality: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    pictures: Sequence[Picture] = ()
    predicts: str = TOKENS
    tracked: Tracked | None = None
    attended: Attended | None = None
    read_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("model", "prompt", "stream", "decoder"):
            require(isinstance(getattr(self, name), str), f"{name} is not text")
        require(self.norm is None or isinstance(self.norm, str), "norm is not text")
        for name in ("tokens", "layers", "notes", "columns"):
            texts = getattr(self, name)
            require(
                isinstance(texts, (list, tuple)) and all(isinstance(each, str) for each in texts),
                f"{name} are not texts",
            )
            object.__setattr__(self, name, tuple(texts))
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), dtype))
        grid = (len(self.layers), len(self.tokens))
        object.__setattr__(self, "magnitude", frozen_floats("magnitude", self.magnitude, grid))
        for name in ("vocabulary", "check", "provenance"):
            require(isinstance(getattr(self, name), Mapping), f"{name} is not a mapping")
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if self.tracked is not None:
            object.__setattr__(self, "tracked", Tracked.from_dict(self.tracked, grid))
        if self.attended is not None:
            object.__setattr__(self, "attended", Attended.from_dict(self.attended, grid[1]))
        require_sound(self)
        require(isinstance(self.measures, Mapping), "measures is not a mapping")
        require_unicode("a measure", map(str, self.measures))
        measures = {str(name): frozen_floats(str(name), value, grid) for name, value in self.measures.items()}
        own = {"magnitude": self.magnitude, "max_probability": self.top_probs[..., 0]}
        object.__setattr__(self, "measures", MappingProxyType(measures | own))
        require(isinstance(self.targets, (list, tuple)), "targets is not a list")
        object.__setattr__(self, "targets", tuple(Target.from_dict(each, grid) for each in self.targets))
        require(
            isinstance(self.unmapped, (list, tuple)) and set(map(str, self.unmapped)) <= set(self.layers),
            "unmapped names rows that do not exist",
        )
        object.__setattr__(self, "unmapped", tuple(self.unmapped))
        require(self.predicts in PREDICTED, "predicts is neither tokens nor labels")
        require(len(self.columns) in (0, len(self.tokens)), "the number of columns differs from that of tokens")
        require(isinstance(self.pictures, (list, tuple)), "pictures is not a list")
        object.__setattr__(self, "pictures", tuple(map(Picture.from_dict, self.pictures)))
        require(isinstance(self.quality, Mapping), "quality is not a mapping")
        quality = {str(name): frozen_floats(str(name), value, grid[:1]) for name, value in self.quality.items()}
        object.__setattr__(self, "quality", MappingProxyType(quality))
        show_lists_of(LensResult)

    @property
    def generated(self) -> np.ndarray:
        """Whether each token was generated, (position,) bool."""
        return self.positions >= (np.inf if self.generated_from is None else self.generated_from)

    @property
    def magnitudes_are_unknown(self) -> bool:
        """Whether this was read from another tool's file that records no magnitudes."""
        return bool(np.isnan(self.magnitude).all())

    @property
    def checked(self) -> str:
        """The outcome of the check, as a sentence."""
        difference = self.check["max_abs_logit_difference"]
        if difference is None and "source" in self.provenance:
            return f"Not checked: this was read from a {self.provenance['source']} file, which records no check."
        return in_words(self.check, self.read_from)

    @property
    def edited(self) -> str:
        """What ``edits=`` did to the model, in short: ``"swap ' Paris' → ' Rome' (demo)"``; ``"clean"`` without any."""
        return edited(self.provenance)

    @cached_property
    def edited_cells(self) -> np.ndarray:
        """(layer, position) bool, whether ``edits=`` changed the state that a cell shows, at its layer and position."""
        found = edited_cells(self)
        found.flags.writeable = False
        return found

    @property
    def decoder_called(self) -> str:
        """The kind and name of the decoder, such as ``Jacobian lens “demo”``; empty for the logit lens."""
        return decoder_called(self)

    @property
    def mapped(self) -> str:
        """What the decoder did, as sentences; empty for the logit lens."""
        return mapped_in_words(self)

    @property
    def decoded(self) -> str:
        """How the rows were decoded, as a sentence; empty if the model's own precision was used throughout."""
        decoding, own = self.provenance.get("decoding"), self.provenance.get("dtype")
        if not isinstance(decoding, Mapping) or not {"precision", "rows", "decoded again"} <= set(decoding):
            return ""
        precision = decoding["precision"]
        if precision == own:
            return ""
        shares = ", and shares of sets of tokens within about 0.005" if self.mass else ""
        return (
            f"Decoded in {precision}: the top {self.topk} of each row are proved to be those of {own}; probabilities "
            f"are estimated to be within 0.001 of these, and entropy, KL and surprisal within about 0.02 nats{shares}; "
            f"{decoding['decoded again']} of {decoding['rows']} rows, where this did not hold, were decoded in {own}."
        )

    def part(self, layers: Sequence[str], columns: Sequence[int]) -> "LensResult":
        """The result for some of the layers, by label, and some of the columns, by their place in the table."""
        rows = [self.layers.index(layer) for layer in layers]
        places = np.ix_(rows, list(columns))
        cut = {name: getattr(self, name)[places] for name in ("top_ids", "top_probs", "magnitude")}
        return replace(
            self,
            layers=tuple(layers),
            tokens=tuple(self.tokens[column] for column in columns),
            token_ids=self.token_ids[list(columns)],
            positions=self.positions[list(columns)],
            measures={name: value[places] for name, value in self.measures.items()},
            columns=tuple(self.columns[column] for column in columns) if self.columns else (),
            unmapped=tuple(layer for layer in self.unmapped if layer in layers),
            quality={name: value[rows] for name, value in self.quality.items()},
            targets=[
                replace(
                    target,
                    probability=target.probability[places],
                    logit=target.logit[places],
                    rank=target.rank[places],
                )
                for target in self.targets
            ],
            tracked=None if self.tracked is None else self.tracked.part(rows, columns),
            attended=None if self.attended is None else self.attended.part(layers, columns),
            **cut,
        )

    @property
    def main_position(self) -> int:
        """The position to look at first: the last one, or the one that a classifier of whole texts reads."""
        only = self.check.get("only_position")
        return int(only if only is not None and only in self.positions else self.positions[-1])

    def column_of(self, position: int | None) -> int:
        """The column of a position; negative positions count from the last column, None is the main one.

        Raises:
            LensError: the position is not in the table.
        """
        position = self.main_position if position is None else position
        if is_whole_number(position):
            if -len(self.positions) <= position < 0:
                return int(position) % len(self.positions)
            columns = np.flatnonzero(self.positions == int(position))
            if len(columns):
                return int(columns[0])
        shown = ", ".join(map(str, self.positions[:20].tolist()))
        raise LensError(f"position {position!r} is not in this table, which has {shown:.80}")

    @property
    def topk(self) -> int:
        """How many tokens each cell holds."""
        return int(self.top_ids.shape[2])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LensResult) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return LensResult.from_dict, (self.to_dict(),), {"read_from": self.read_from}

    def __repr__(self) -> str:
        rows, columns = self.magnitude.shape
        through = "" if self.decoder == LOGIT else f" through {self.decoder}"
        grid = f"{rows} layers x {columns} positions"
        return f"<LensResult of {self.model}: {self.stream}{through}, {grid}, top {self.topk}>"


LensResult.__module__ = "bauklens"  # so that pickles load wherever the class is defined
