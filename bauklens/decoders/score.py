"""How well a decoder says what the model itself says, layer by layer, on text that it was not fitted on."""

from collections.abc import Iterable

import torch
from torch import nn

from bauklens.decode.decoder import Basis, Decoder
from bauklens.decode.reading import Reading
from bauklens.decode.rows import Way, decode
from bauklens.decode.unembed import Rows
from bauklens.decoders.texts import SKIP_FIRST
from bauklens.model.anatomy import resolve
from bauklens.model.inputs import Inputs
from bauklens.progress import bar
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream
from bauklens.vocabulary import EMBED


def quality_of(decoder: Decoder, model: nn.Module, texts: Iterable[Inputs]) -> dict[str, dict[str, float]]:
    """Label -> the mean KL divergence of the row to the model's own, in nats, and how often their top tokens agree.

    The positions before :data:`bauklens.decoders.texts.SKIP_FIRST` and the last of each text are left out, as
    they are when a decoder is fitted.

    Args:
        texts: one prompt each.
    """
    total: dict[str, list[torch.Tensor]] = {"kl": [], "agreement": []}
    labels: list[str] = []
    for inputs in bar("Scoring", "text", list(texts)):
        anatomy = resolve(model, inputs)
        stream = trace_stream(model, anatomy, inputs)
        run = Run(model, None, None, inputs, anatomy, stream, inputs.count)
        basis, named = Basis(decoder, anatomy), [EMBED, *anatomy.labels]
        places = [place for place, label in enumerate(named) if basis.maps(label)]
        labels = [named[place] for place in places]
        rows = Rows("hidden", stream.states[places], labels, list(range(SKIP_FIRST, inputs.count - 1)))
        values = decode(run, rows, Reading(1, ("kl", "agreement")), Way(decoder=decoder)).values
        for name, each in total.items():
            each.append(values[name].double())
    means = {name: torch.cat(each, dim=1).mean(dim=1).tolist() for name, each in total.items()}
    return {label: {name: means[name][place] for name in means} for place, label in enumerate(labels)}
