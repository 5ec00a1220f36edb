"""What edits do to the model's next token, compared with random directions. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from bauklens.optional import data_frame

if TYPE_CHECKING:
    import pandas as pd

CLEAN, EDITED, CONTROL = "clean", "edited", "control"

SHARES = ("wanted", "unchanged", "other")
"""What the most probable token is: the one that the edit aims for, the clean one, or another."""


@dataclass(frozen=True, eq=False, repr=False)
class Intervention:
    """Next tokens of prompts: without an edit (clean), with it (edited), and with random directions in it (control).

    Attributes:
        model: its name.
        prompts: their texts.
        edits: for each prompt, what was done, as plain values.
        targets: (prompt, target), the texts of the tokens that are followed.
        wanted: (prompt,) int64, the token that the edit aims for; -1 if there is none.
        top: condition -> ids of the most probable tokens: ``"clean"`` and ``"edited"`` (prompt,), ``"control"``
            (control, prompt).
        probability: condition -> probabilities of the targets, 0..1: (prompt, target), or (control, prompt, target).
        vocabulary: id -> text of the tokens above.
    """

    model: str
    prompts: tuple[str, ...]
    edits: tuple[Sequence[Mapping[str, Any]], ...]
    targets: tuple[tuple[str, ...], ...]
    wanted: np.ndarray
    top: Mapping[str, np.ndarray]
    probability: Mapping[str, np.ndarray]
    vocabulary: Mapping[int, str]

    @property
    def controls(self) -> int:
        """How many random controls there are."""
        return len(self.top.get(CONTROL, ()))

    def shares(self, condition: str = EDITED) -> dict[str, float]:
        """The shares of prompts whose most probable token is wanted, unchanged or another: 0..1, NaN if none is wanted.

        An edit that is too weak leaves most unchanged, and one that is too strong gives others. For the controls, it
        is the mean.
        """
        return {name: float(np.mean(each)) for name, each in self._shares(condition).items()}

    def _shares(self, condition: str) -> dict[str, np.ndarray]:
        """(control,) or a single number each, the shares of prompts."""
        top, clean = self.top[condition], self.top[CLEAN]
        has_wanted = bool((self.wanted >= 0).all())
        wanted, unchanged = top == self.wanted, top == clean
        unchanged = unchanged & ~(wanted if has_wanted else np.zeros_like(wanted))
        parts = (wanted, unchanged, ~wanted & ~unchanged)
        found = {name: np.mean(each, axis=-1) for name, each in zip(SHARES, parts, strict=True)}
        if not has_wanted:
            found["wanted"] = np.full_like(found["unchanged"], np.nan)
        return found

    def summary(self) -> "pd.DataFrame":
        """One row per condition: shares and mean probabilities of the targets, over the prompts.

        For the controls, it is the mean over them, with one row for each end of the middle 95 %.
        """
        rows = self._rows()
        columns = {name: [row[name] for row in rows.values()] for name in next(iter(rows.values()))}
        return data_frame(columns).set_axis(list(rows), axis="index")

    def _rows(self) -> dict[str, dict[str, float]]:
        """Condition -> the columns of the summary."""
        rows: dict[str, dict[str, float]] = {}
        for condition in (CLEAN, EDITED):
            rows[condition] = {**self.shares(condition), **self._means(self.probability[condition])}
        if self.controls:
            each = {**self._shares(CONTROL), **self._means(self.probability[CONTROL])}
            called = f"{self.controls} controls, mean" if self.controls > 1 else "1 control"
            rows[called] = {name: float(np.mean(value)) for name, value in each.items()}
            for name, percent in (("2.5 %", 2.5), ("97.5 %", 97.5)):
                rows[f"controls, {name}"] = {key: _percentile(value, percent) for key, value in each.items()}
        return rows

    def to_frame(self) -> "pd.DataFrame":
        """One row per prompt and condition: its most probable token, and the probability of each target."""
        rows = []
        for place, prompt in enumerate(self.prompts):
            runs = [
                (CLEAN, self.top[CLEAN], self.probability[CLEAN]),
                (EDITED, self.top[EDITED], self.probability[EDITED]),
            ]
            runs += [
                (f"{CONTROL} {number + 1}", self.top[CONTROL][number], self.probability[CONTROL][number])
                for number in range(self.controls)
            ]
            for condition, top, probability in runs:
                named = dict(zip(self._names, probability[place].tolist(), strict=True))
                rows.append(
                    {"prompt": prompt, "condition": condition, "top": self.vocabulary[int(top[place])], **named}
                )
        return data_frame({name: [row[name] for row in rows] for name in rows[0]})

    @property
    def _names(self) -> list[str]:
        """What the targets are called in a table: their texts if all prompts have the same ones."""
        if len(set(self.targets)) == 1:
            return [f"p({text!r})" for text in self.targets[0]]
        return [f"p(target {number + 1})" for number in range(len(self.targets[0]))]

    def _means(self, probability: np.ndarray) -> dict[str, Any]:
        return dict(zip(self._names, np.moveaxis(np.mean(probability, axis=-2), -1, 0), strict=True))

    def __repr__(self) -> str:
        one = "1 prompt" if len(self.prompts) == 1 else f"{len(self.prompts)} prompts"
        return f"<Intervention of {self.model}: {one}, {self.controls} controls>\n{_as_text(self._rows())}"

    def _repr_html_(self) -> str:
        rows = self._rows()
        heads = Markup("").join(Markup("<th>{}</th>").format(name) for name in ["", *next(iter(rows.values()))])
        lines = [
            Markup("<tr><th>{}</th>{}</tr>").format(
                name, Markup("").join(Markup("<td>{}</td>").format(_as_cell(value)) for value in row.values())
            )
            for name, row in rows.items()
        ]
        return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
            heads, Markup("").join(lines)
        )


Intervention.__module__ = "bauklens"


def _as_cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _as_text(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows as text, each column with as many digits as it needs, but no more than three."""
    columns = [["", *rows]]
    for name in next(iter(rows.values())):
        values = [float(np.round(row[name], 3)) for row in rows.values()]
        digits = max(
            (len(f"{each:.3f}".rstrip("0").partition(".")[2]) for each in values if not np.isnan(each)), default=1
        )
        columns.append([name, *("NaN" if np.isnan(each) else f"{each:.{max(digits, 1)}f}" for each in values)])
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))])
        for first, *cells in lines
    )


def _percentile(value: Any, percent: float) -> float:
    return float(np.percentile(value, percent))
