"""The pages of two other tools with the same numbers, each made by the tool itself, from the caller's copy."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from viewer_cases import VOCABULARY

import bauklens

MOST_POSITIONS = 1_024
"""The most positions for pages of the others; both state that theirs are for short prompts."""


@dataclass(frozen=True)
class Peers:
    """Paths of copies of the others; None for one that is not available.

    Attributes:
        widget: js/src/logit-lens-widget.js of LogitLensKit.
        jlens: the folder with the package ``jlens``, of the reference code of the Jacobian lens.
        d3: d3.min.js 7.9.0, which the page of ``jlens`` embeds instead of fetching it.
    """

    widget: Path | None = None
    jlens: Path | None = None
    d3: Path | None = None

    @property
    def missing(self) -> str:
        """A sentence about those that could not be run; empty if all could."""
        names = [] if self.widget else ["LogitLensKit's widget"]
        names += [] if self.jlens and self.d3 else ["the page of the Jacobian lens's reference code"]
        return f"Not run here: {' and '.join(names)}." if names else ""

    def write_widget(self, lens: bauklens.LensResult, path: Path) -> None:
        """LogitLensKit's widget in a page."""
        assert self.widget is not None
        told = lens.to_logitlenskit()
        data = {name: told[name] for name in ("meta", "layers", "input", "topk", "tracked")}
        text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
        script = self.widget.read_text(encoding="utf-8")
        page = (
            '<!doctype html><meta charset="utf-8"><title>LogitLensKit</title><div id="lens"></div>'
            f"<script>{script}</script><script>LogitLensWidget('#lens', {text});</script>"
        )
        path.write_text(page, encoding="utf-8")

    def write_jacobian(self, lens: bauklens.LensResult, path: Path) -> None:
        """The page that ``jlens.vis`` makes, with the ranks of the tracked tokens and three of them pinned."""
        assert self.jlens is not None
        assert self.d3 is not None
        assert lens.tracked is not None
        sys.path.insert(0, str(self.jlens))
        from jlens import vis

        script = f"<script>{self.d3.read_text(encoding='utf-8')}</script>"
        vis._TEMPLATE_FOR_MODE["embed"] = vis.PAGE_TEMPLATE.replace("__D3__", script)
        rows = [place for place, layer in enumerate(lens.layers) if layer != "embed"]
        top = lens.top_ids[rows].transpose(1, 0, 2).astype(np.int32)
        tracked = lens.tracked.token_ids.tolist()
        data = vis.SliceData(
            seq_len=len(lens.positions),
            layers=[*range(len(rows))],
            context_token_ids=lens.token_ids.tolist(),
            context_token_strs=[*lens.tokens],
            top_ids=top,
            top_ranks=np.broadcast_to(np.arange(lens.topk, dtype=np.int32), top.shape).copy(),
            tracked_token_ids=tracked,
            rank_tensor=lens.tracked.rank[:, rows].transpose(2, 1, 0).astype(np.int32) - 1,
            vocab_fragment=dict(lens.vocabulary),
            vocab_size=VOCABULARY,
            pinned_token_ids=tracked[:3],
        )
        page, _, _ = vis.build_page(data, lens.prompt, title="Jacobian lens", description="", mode="embed")
        path.write_text(page, encoding="utf-8")
