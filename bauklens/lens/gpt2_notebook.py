"""show_logit_lens(): the call of the GPT-2-XL notebook that this package comes from."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from bauklens.arguments import checked_topk, listed
from bauklens.decode.decoder import LOGIT_LENS
from bauklens.decode.rows import Way
from bauklens.decode.unembed import Rows
from bauklens.decoders.chosen import chosen_decoders, is_several, told_apart
from bauklens.decoders.fits import require_fit
from bauklens.errors import LensError
from bauklens.lens.how import How
from bauklens.lens.run import lens_of, run
from bauklens.lens.table_rows import mapped_rows
from bauklens.model.encoding import Prompt
from bauklens.result.measures import chosen_measures
from bauklens.result.result import LensResult
from bauklens.show.page import Colour, fragment
from bauklens.stream.run import Run
from bauklens.vocabulary import GIVEN, MOST_TRACKED

_NO_NOTEBOOK = (
    "show_logit_lens: this is not a notebook, so nothing is shown; "
    'to write a page, keep what it returns and call lens.to_html("lens.html", look="classic")'
)

States = torch.Tensor | Callable[[nn.Module, Any, Prompt], torch.Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class _Shown(LensResult):
    """A result that its cell has already shown, so that it is not shown again as the cell's value."""

    cell: int | None = None

    @property
    def is_shown(self) -> bool:
        """Whether its cell is still running."""
        return self.cell is not None and self.cell == _running_cell()

    def _repr_html_(self) -> str | None:  # type: ignore[override]
        return None if self.is_shown else super()._repr_html_()


def show_logit_lens(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    topk: int = 5,
    color: Colour | None = None,
    hs: States | None = None,
    decoder: Any = None,
) -> LensResult | list[LensResult]:
    """Shows the logit lens of a prompt in a notebook (background by magnitude, text by probability) and returns it.

    Outside a notebook it shows nothing, and prints a line about that to standard error; use ``to_html`` of the result
    to write a page.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, or None if the prompt is token ids.
        prompt: a string or token ids.
        topk: tokens to keep per cell.
        color: the background at the largest magnitude: ``#rrggbb``, or red, green and blue in 0..255.
        hs: the states to decode, (layer, position, hidden) or (layer, 1, position, hidden), or a function of
            (model, tokenizer, prompt) that returns them, such as :func:`bauklens.get_hidden_state_deltas`; None decodes
            the output of every block. For the few models whose states have another shape: (layer, *shape).
        decoder: as for :func:`bauklens.logit_lens`; a list shows a viewer with all of them, and returns a list.

    Raises:
        LensError: as for :func:`bauklens.logit_lens`, or ``hs`` has the wrong shape.
    """
    decoders = chosen_decoders(decoder)
    ran = run(model, tokenizer, prompt)
    topk = checked_topk(topk, ran.anatomy.vocabulary)
    if hs is None:
        states = ran.stream.states[1:]
    else:
        states = _checked(hs(model, tokenizer, prompt) if callable(hs) else hs, ran)
    stream = "hidden" if hs is None else GIVEN
    labels = list(ran.anatomy.labels) if hs is None else [str(layer) for layer in range(len(states))]
    results = []
    for each, called in zip(decoders, told_apart([each.name for each in decoders]), strict=True):
        made_for = require_fit(each, ran.model, ran.anatomy, [stream], "own")
        if each is not LOGIT_LENS and labels != [*ran.anatomy.labels]:
            raise LensError(
                f"hs has {len(states)} layers, but the decoder {each.name!r} needs the states after the blocks "
                f"{listed(ran.anatomy.labels)}, to map each separately: pass one for each block, without the embedding"
            )
        how = How(
            topk,
            Way(decoder=each),
            measures=chosen_measures(None, complete=True),
            misfit=made_for,
            called=called,
            track=MOST_TRACKED,
            beside=len(decoders),
        )
        kept = mapped_rows(ran.anatomy, labels, None, how)
        how = replace(how, left_out=tuple(label for row, label in enumerate(labels) if row not in kept))
        rows = Rows(
            stream,
            states[kept] if len(kept) < len(labels) else states,
            [labels[row] for row in kept],
            list(range(ran.inputs.count)),
        )
        arguments = {"topk": topk, "color": color, "hs": _name(hs), "decoder": called}
        results.append(lens_of(ran, rows, how, arguments=arguments))
    html = fragment(results, look="classic", color=color)
    cell = _running_cell()
    if cell is None:
        print(_NO_NOTEBOOK, file=sys.stderr)
    else:
        from IPython.display import HTML, display

        display(HTML(html))  # type: ignore[no-untyped-call]
    shown: list[LensResult] = [
        _Shown(**{each.name: getattr(result, each.name) for each in fields(LensResult)}, cell=cell)
        for result in results
    ]
    return shown if is_several(decoder) else shown[0]


def _checked(given: Any, ran: Run) -> torch.Tensor:
    """Given states as (layer, position, hidden), or (layer, *shape), on the device of the model's own."""
    shape = tuple(ran.final.shape)
    accepted = [shape, (1, *shape)] if ran.anatomy.plain else [shape]
    found = tuple(given.shape) if isinstance(given, torch.Tensor) else ()
    if not found or found[1:] not in accepted or not found[0]:
        wanted = " or ".join(f"(layer, {', '.join(map(str, each))})" for each in accepted)
        got = f"shape {found}" if isinstance(given, torch.Tensor) else type(given).__name__
        raise LensError(f"hs must be a torch tensor {wanted} for this model and prompt; got {got}")
    if not given.isfinite().all():
        raise LensError("hs contains NaN or infinity")
    states: torch.Tensor = given.reshape(found[0], *shape).detach().to(ran.final)
    return states


def _name(hs: States | None) -> str | None:
    if isinstance(hs, torch.Tensor):
        return f"tensor {tuple(hs.shape)}"
    return getattr(hs, "__name__", repr(hs)) if hs is not None else None


def _running_cell() -> int | None:
    """The number of the notebook cell that runs now; None in a script, and in IPython in a terminal."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    is_notebook = shell is not None and type(shell).__name__ != "TerminalInteractiveShell"
    return int(shell.execution_count) if is_notebook else None
