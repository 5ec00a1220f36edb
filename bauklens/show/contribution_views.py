"""Contributions as a table and as bars. Needs no torch."""

from typing import TYPE_CHECKING, Any

from bauklens.result.contributions import Contributions
from bauklens.result.tokens import visible
from bauklens.show.figures import new_figure
from bauklens.show.rankings import ranking_fragment, ranking_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ADDS, _TAKES, _REST = "#2f6db3", "#b3442f", "#8a8a8a"

_SHOWN = 20
"""How many parts a table shows."""


def contribution_bars(found: Contributions, k: int) -> "Figure":
    """One bar for each of the k largest parts, the largest at the top, and one for all others together."""
    top = found.ranked(k)
    rows = [(each.part, each.value, _ADDS if each.value >= 0 else _TAKES) for each in top]
    rows += [(name, value, _REST) for name, value in others_than(found, k)]
    figure = new_figure(figsize=(6, 0.9 + 0.24 * len(rows)))
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [value for _, value, _ in rows], color=[colour for *_, colour in rows])
    axes.set_yticks(list(places), [name for name, *_ in rows], parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"adds to the {found.of_what}", parse_math=False)
    axes.set_title(f"{found.model}, position {found.position}: {found.logit:.4g}", parse_math=False)
    return figure


def contribution_table(found: Contributions) -> str:
    """The HTML of the largest parts, for a notebook."""
    neurons = ranking_fragment(**_neurons(found)) if found.neurons else ""
    return ranking_fragment(**_ranking(found, _SHOWN)) + neurons


def contribution_page(found: Contributions, k: int) -> str:
    """One self-contained page with the k largest parts."""
    neurons = [_neurons(found)] if found.neurons else []
    return ranking_page(f"{found.model}: {found.of_what}", [_ranking(found, k), *neurons])


def _neurons(found: Contributions) -> dict[str, Any]:
    largest = abs(found.neurons[0].value) or 1.0
    rows = [(each.part, [(f"{each.value:+.4g}", each.value / largest, "")]) for each in found.neurons]
    note = "The parts of the MLPs above include what these neurons add."
    return {"caption": "The neurons that add or take away most", "corner": "neuron", "columns": ["adds"]} | {
        "rows": rows,
        "note": note,
    }


def _ranking(found: Contributions, k: int) -> dict[str, Any]:
    """The arguments of :func:`bauklens.show.rankings.ranking_fragment`."""
    largest = max((abs(each.value) for each in found.ranked(1)), default=0.0) or 1.0
    rows = [(each.part, [(f"{each.value:+.4g}", each.value / largest, each.kind)]) for each in found.ranked(k)]
    rows += [(name, [(f"{value:+.4g}", 0.0, "")]) for name, value in others_than(found, k)]
    rows.append(("sum", [(f"{found.logit:.4g}", 0.0, "the logit")]))
    what = " less ".join(f"the logit of {visible(text)}" for text in found.targets)
    caption = f"What adds to {what} in {found.model}, at position {found.position} ({visible(found.token)})"
    note = (
        "The largest parts: blue adds, orange takes away. The scale of the final norm at this position is kept fixed, "
        "so all parts add up. "
    )
    return {
        "caption": caption,
        "corner": "part",
        "columns": ["adds"],
        "rows": rows,
        "note": note + " ".join(found.notes),
    }


def others_than(found: Contributions, k: int) -> list[tuple[str, float]]:
    """One row for all parts except the k largest."""
    left = found.ranked()[k:]
    return [(f"{len(left)} others", sum(each.value for each in left) + found.rounding)] if left else []
