"""The parts of any causal language model, how its states are decoded, and the proof that this is right."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from bauklens.arguments import listed
from bauklens.errors import LensError
from bauklens.model.forward import Call, record
from bauklens.model.guard import evaluating, has_hooks, is_hooked
from bauklens.model.head_shard import require_gathered
from bauklens.model.inputs import Inputs
from bauklens.model.layout import Layout, block_lists, layout_of, require_module
from bauklens.model.logits import require_each
from bauklens.model.memory import explaining_out_of_memory, out_of_memory
from bauklens.model.post_ops import PostOps
from bauklens.model.proof import NotProvedError
from bauklens.model.run_errors import FAILURES, explaining_missing_inputs, explaining_wrong_names
from bauklens.model.way import prove_decoding, prove_single

_PROBE = 8
"""How many positions of the prompt are enough to find the order of the modules and what they do."""


@dataclass(frozen=True)
class Anatomy(Layout):
    """The parts of a model, and how a state is decoded.

    Attributes:
        in_place: whether the model itself is run, because its shell behaves differently
            (:func:`bauklens.model.guard.evaluating`).
        hooked: whether modules outside of the blocks carry hooks of the caller, which may expect a batch of one and
            all of the prompt's positions.
        whole: whether a state is decoded at all positions of the prompt at once, in its own shape, a layer at a time.
        norm: the module that the caller named to apply between a state and the head; None: the model's own tail.
        post_ops: what follows the head, if states are decoded by the product of the head's input and its weights; None
            if they are decoded by the model's own forward, replayed to its end.
        proof: the largest difference between the last block's logits, decoded in this way, and the model's own, on the
            first positions of the prompt that the model was resolved with; NaN if its states or logits there are not
            finite, which later code reports.
        proved_on: the number of these positions.
        reads: the position of a model's logits, if it returns those of only one: ``"first"``, or ``"last"``, not
            counting padding; empty if it returns those of each position.
        shards: what follows the head, if each of several ranks holds the head's part for some tokens, and the product
            with that part is proved to give these tokens' logits; None if not.
    """

    in_place: bool
    hooked: bool
    norm: str | None
    whole: bool
    post_ops: PostOps | None
    proof: float
    proved_on: int
    reads: str = ""
    shards: PostOps | None = None

    def is_proved_on(self, count: int) -> bool:
        """Whether the proof covered as many positions as it would for a prompt of this length."""
        return self.proved_on >= min(count, _PROBE)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about the rows, as sentences."""
        found = []
        if self.idle:
            which, have = ("Block", "it has no row") if len(self.idle) == 1 else ("Blocks", "they have no rows")
            found.append(f"{which} {listed(self.idle)} of {self.blocks_path} did not run on this prompt, so {have}.")
        if self.single:
            found.append(
                f"The model returns the logits of the {self.reads} position only; the other columns are decoded in the "
                "same way, but cannot be checked against the model."
            )
        if self.classes is not None and len(self.classes) == 1:
            found.append("The model has only one label, so its probability is always 1: its score is max_logit.")
        return tuple(found)

    @property
    def decoding(self) -> str:
        """How a state is decoded, in words."""
        if self.shards is not None and self.post_ops is None:
            parts = "each rank with its own part of the head"
            return f"{replace(self, post_ops=self.shards, shards=None).decoding}, {parts}"
        through = f"through {self.norm}" if self.norm else "through the model's own forward"
        if self.post_ops is None:
            return f"{through}, to the logits"
        ends = "" if self.post_ops == PostOps() else f", and then {self.post_ops}"
        return f"{through} to the head's input, then multiplied by the head's weights{ends}"


def find_anatomy(model: nn.Module, inputs: Inputs, blocks: str | None, norm: str | None, head: str | None) -> Anatomy:
    """The parts of a model, found in a shell of it; or in the model itself, if the shell does not work.

    Arguments and errors are those of :func:`bauklens.model.resolving.resolve`.
    """
    require_module(model, norm)
    try:
        with evaluating(model) as own:
            return _of_first_that_fits(own, inputs, blocks, norm, head, in_place=own is model)
    except LensError as error:
        if own is model:
            raise
        failed = error
    try:
        with evaluating(model, in_place=True):
            return _of_first_that_fits(model, inputs, blocks, norm, head, in_place=True)
    except LensError:
        raise failed from None


def _of_first_that_fits(
    model: nn.Module, inputs: Inputs, blocks: str | None, norm: str | None, head: str | None, *, in_place: bool
) -> Anatomy:
    """The first list of blocks that can be proved; otherwise raises the error of the likeliest one."""
    with explaining_missing_inputs(model, inputs):
        inputs, calls, logits = recorded(model, inputs, _is_listed(model, blocks))
    require_each(model, logits, inputs.count, inputs.logits)
    named = {name: value for name, value in (("blocks", blocks), ("norm", norm), ("head", head)) if value is not None}
    failed: LensError | None = None
    hooked_by_caller = is_hooked(model)
    with explaining_wrong_names(named):
        found = block_lists(model, calls, blocks)
        for path, names in found.items() if blocks is not None else _of_decoder(model, inputs, found):
            try:
                layout = layout_of(model, inputs, calls, logits, path, names, head=head)
                require_gathered(model.get_submodule(layout.head), layout.model_class, logits.shape[-1])
                hooked = _hooked_outside(model, layout)
                prove = prove_single if layout.single else prove_decoding
                proved = prove(model, layout, inputs, calls, logits, norm=norm, hooked=hooked, in_place=in_place)
            except LensError as error:
                failed = failed or error
                continue
            except FAILURES as error:
                if out_of_memory(error) or named or hooked_by_caller:
                    raise
                failed = failed or NotProvedError(
                    f"{type(model).__name__} does not run with its blocks bypassed, so no state can be decoded: "
                    f"{error!s:.300}"
                )
                continue
            return Anatomy(**vars(layout), **proved._asdict(), in_place=in_place, hooked=hooked, norm=norm)
    assert failed is not None
    raise failed


def _of_decoder(model: nn.Module, inputs: Inputs, found: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Lists of modules that may be the blocks; for an encoder-decoder, those outside of its encoder."""
    if inputs.keyword == "input_ids" or not hasattr(model, "get_encoder"):
        return list(found.items())
    encoder: nn.Module = model.get_encoder()  # type: ignore[operator]
    inside = set(encoder.modules())
    return [(path, names) for path, names in found.items() if model.get_submodule(names[0]) not in inside]


def recorded(
    model: nn.Module, inputs: Inputs, copies: Callable[[str], bool]
) -> tuple[Inputs, list[Call], torch.Tensor]:
    """Records a run of a few positions, or of all if a hook of the caller needs them; also returns its inputs."""
    with explaining_out_of_memory(inputs.count):
        few = inputs.first(_PROBE)
        try:
            return few, *record(model, few, copies=copies)
        except IndexError:
            if few.count == inputs.count:
                raise
            return inputs, *record(model, inputs, copies=copies)


def _is_listed(model: nn.Module, blocks: str | None) -> Callable[[str], bool]:
    """Whether a module may be a block, because it is in a list of modules, or in the one that the caller named."""
    lists = {f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList)} | {f"{blocks}."}
    return lambda name: f"{name.rpartition('.')[0]}." in lists


def _hooked_outside(model: nn.Module, layout: Layout) -> bool:
    """Whether modules outside of the blocks carry hooks of the caller."""
    inside = tuple(f"{block}." for block in layout.blocks)
    return any(
        has_hooks(module)
        for name, module in model.named_modules()
        if name not in layout.blocks and not name.startswith(inside)
    )
