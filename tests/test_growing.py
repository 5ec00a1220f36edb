"""A look into a text while it is generated: whatever the model keeps between two tokens, the text stays the same."""

import numpy as np
import pytest

import bauklens
from bauklens.live import growing
from bauklens.live.growing import Growing
from bauklens.live.worker import Job
from bauklens.progress import watched
from tests.test_coverage import NO_LENS, PROMPT, SPECS, build

pytestmark = [pytest.mark.slow, pytest.mark.long]  # every type of model

CANNOT_GENERATE = {
    "bailing_hybrid": "its cache has no length, as none of the few blocks that were built has attention",
    "blt": "its configuration does not say how many blocks it has",
    "blt@decoder": "its configuration does not say how many blocks it has",
    "musicgen": "its ids are several codebooks",
    "musicgen_melody": "its ids are several codebooks",
    "prophetnet": "its own generate fails without its encoder",
}


@pytest.mark.parametrize("name", [name for name in SPECS if name not in NO_LENS | CANNOT_GENERATE.keys()])
def test_a_look_at_every_new_token_changes_nothing(name, monkeypatch):
    monkeypatch.setattr(growing, "SHARE", float("inf"))
    model, shown = build(name), []

    def look(ids, columns):
        bauklens.logit_lens(model, None, ids, positions=list(columns))
        shown.append(list(columns))

    expected = bauklens.logit_lens(model, None, PROMPT, max_new_tokens=5)
    with watched(Growing(Job("", lambda _: None, lambda *_: None, 600), PROMPT, look)):
        found = bauklens.logit_lens(model, None, PROMPT, max_new_tokens=5)
    assert found.tokens == expected.tokens
    assert np.array_equal(found.top_ids, expected.top_ids)
    assert np.allclose(found.top_probs, expected.top_probs, atol=1e-6)
    assert shown == [[position] for position in range(len(PROMPT), len(found.tokens))] != []
