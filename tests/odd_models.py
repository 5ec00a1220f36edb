"""Small models that do something after, beside or between their blocks that no model of transformers does today."""

from types import SimpleNamespace

import torch
from torch import nn

VOCABULARY, WIDTH, LAYERS = 97, 32, 4


class Block(nn.Module):
    """Attends to a decaying mean of all positions before, and then an MLP."""

    def __init__(self):
        super().__init__()
        self.mix, self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, states):
        count = states.shape[1]
        weights = torch.tril(0.7 ** (torch.arange(count)[:, None] - torch.arange(count)).clamp_min(0))
        states = states + self.mix(weights.to(states) @ states)
        return states + self.down(torch.relu(self.up(states)))


class Plain(nn.Module):
    """Embeddings, blocks, a norm and a head; what others change is ``extra``, ``stack`` and ``tail``."""

    def __init__(self, layers=LAYERS):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = nn.Embedding(VOCABULARY, WIDTH), nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(layers))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.config = SimpleNamespace(num_hidden_layers=layers, _name_or_path="odd")
        self.extra()
        with torch.no_grad():
            self.head.weight.mul_(5)
        self.eval().requires_grad_(False)

    def extra(self):
        """More modules."""

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, use_cache=None, return_dict=None):
        states = self.stack(self.embed(input_ids))
        return SimpleNamespace(logits=self.tail(states, input_ids))

    def stack(self, states):
        for block in self.layers:
            states = block(states)
        return states

    def tail(self, states, ids):
        return self.head(self.norm(states))


class Probes(Plain):
    """After each block a probe looks at the state, and nothing comes of it."""

    def extra(self):
        self.probes = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in self.layers)

    def stack(self, states):
        seen = []
        for block, probe in zip(self.layers, self.probes, strict=True):
            states = block(states)
            seen.append(probe(states))
        return states


class Drafts(Plain):
    """More blocks run after the logits are made, to draft the tokens after the next."""

    def extra(self):
        self.drafts = nn.ModuleList(Block() for _ in range(2))
        del self.config.num_hidden_layers

    def tail(self, states, ids):
        logits = super().tail(states, ids)
        for block in self.drafts:
            states = block(states)
        self.drafted = super().tail(states, ids)
        return logits


class Stages(Plain):
    """The blocks are handed to its forward by a list that is no module."""

    def extra(self):
        self.run = [block.forward for block in self.layers]
        self.order = list(self.layers)

    def stack(self, states):
        for block in self.order:
            states = block(states)
        return states


class Closure(Plain):
    """Its forward is a function that remembers the model itself."""

    def extra(self):
        own = self
        self.forward = lambda **given: Plain.forward(own, **given)


class Between(Plain):
    """States are turned between the blocks."""

    def stack(self, states):
        for block in self.layers:
            states = block(states.roll(1, dims=-1))
        return states


class Convolution(Plain):
    """A short convolution along the positions follows the blocks."""

    def tail(self, states, ids):
        before = torch.nn.functional.pad(states, (0, 0, 2, 0))
        return super().tail(states + 0.4 * before[:, 1:-1] - 0.3 * before[:, :-2], ids)


class Later(Plain):
    """From position 12 on, logits are half as large."""

    def tail(self, states, ids):
        scale = torch.where(torch.arange(states.shape[1]) < 12, 1.0, 0.5)
        return super().tail(states, ids) * scale[:, None]


class First(Plain):
    """The first state is doubled before the norm, and gets a constant."""

    def tail(self, states, ids):
        return super().tail(torch.cat([2 * states[:, :1] + 1, states[:, 1:]], dim=1), ids)


class Alike(Plain):
    """All states are normed by the largest of all."""

    def tail(self, states, ids):
        return self.head(states / states.abs().max())


class Temperature(Plain):
    """Logits of small states are made larger."""

    def tail(self, states, ids):
        small = states.norm(dim=-1, keepdim=True) < 6
        return super().tail(states, ids) * torch.where(small, 3.0, 1.0)


class Early(Plain):
    """From position 12 on, logits of small states, as after early blocks alone, are half as large."""

    def tail(self, states, ids):
        small = states.norm(dim=-1, keepdim=True) < 9
        later = (torch.arange(states.shape[1]) >= 12)[:, None]
        return super().tail(states, ids) * torch.where(small & later, 0.5, 1.0)


class Special(Plain):
    """After one token of the text, some logits are shifted."""

    def tail(self, states, ids):
        logits = super().tail(states, ids)
        return logits + 9 * (ids == 90)[..., None] * torch.linspace(-1, 1, VOCABULARY)


class Touched(Plain):
    """One logit of position 13 is changed in place, after the head has returned it."""

    def tail(self, states, ids):
        logits = super().tail(states, ids)
        logits[:, 13:14, 7] += 9
        return logits


class Given(Plain):
    """What the head is given at position 13 is changed in place."""

    def tail(self, states, ids):
        normed = self.norm(states)
        normed[:, 13:14] *= 3
        return self.head(normed)


class Reused(Early):
    """Logits are returned in the same memory whenever as many are returned."""

    def extra(self):
        self.returned = {}

    def tail(self, states, ids):
        logits = super().tail(states, ids)
        return self.returned.setdefault(logits.shape, torch.empty_like(logits)).copy_(logits)


class Crowded(Plain):
    """An expert follows the blocks, and has room for 64 states."""

    def extra(self):
        self.expert = nn.Linear(WIDTH, WIDTH)

    def tail(self, states, ids):
        served = 3 * torch.relu(self.expert(states)).flatten(0, 1)
        served[64:] = 0
        return super().tail(states + served.view(states.shape), ids)


class Pieces(Plain):
    """The head is given nine positions at a time."""

    def tail(self, states, ids):
        return torch.cat([self.head(piece) for piece in self.norm(states).split(9, dim=1)], dim=1)


class Whole(Plain):
    """Only the last few logits are returned if their number is given; a tensor of positions is not understood."""

    def forward(self, input_ids, use_cache=None, return_dict=None, logits_to_keep=0):
        states = self.stack(self.embed(input_ids))
        if logits_to_keep:
            states = states[:, -logits_to_keep:]
        return SimpleNamespace(logits=self.tail(states, input_ids))


class Room(Block):
    """Its MLP has room for 40 states of a batch."""

    def forward(self, states):
        served = (super().forward(states) - states).flatten(0, 1)
        served[40:] = 0
        return states + served.view(states.shape)


class Experts(Plain):
    """Its blocks have little room."""

    def extra(self):
        self.layers = nn.ModuleList(Room() for _ in self.layers)

    def forward(self, input_ids, attention_mask=None, use_cache=None, return_dict=None):
        return super().forward(input_ids)


class FirstMask(Plain):
    """The mask of a batch's first prompt is taken for all."""

    def forward(self, input_ids, attention_mask=None, use_cache=None, return_dict=None):
        states = self.embed(input_ids)
        if attention_mask is not None:
            states = states * attention_mask[:1, :, None]
        return SimpleNamespace(logits=self.tail(self.stack(states), input_ids))


class Quantized(Plain):
    """The head is given whole numbers, scaled by the largest of all states."""

    def tail(self, states, ids):
        normed = self.norm(states)
        scale = normed.abs().max() / 127
        return self.head((normed / scale).round() * scale)


class InPlace(Plain):
    """What the embedding returned is changed in place on the way to block 0."""

    def stack(self, states):
        return super().stack(states.mul_(2))


class Twice(Plain):
    """The embedding runs once more before block 0."""

    def forward(self, input_ids, **options):
        states = self.embed(input_ids)
        self.reversed = self.embed(input_ids.flip(1))
        return SimpleNamespace(logits=self.tail(self.stack(states), input_ids))


class Again(Plain):
    """The embedding runs once more after the blocks."""

    def tail(self, states, ids):
        self.reversed = self.embed(ids.flip(1))
        return super().tail(states, ids)


class Shifted(Plain):
    """From nine positions on, block 0 is given another state than the embedding returned."""

    def stack(self, states):
        return super().stack(states if states.shape[1] < 9 else states + 1)


class BlockInPlace(Plain):
    """Block 0 changes the state that it is given."""

    def extra(self):
        first = self.layers[0]
        plain = first.forward
        first.forward = lambda states: states.copy_(plain(states))


class Skipping(Plain):
    """From nine positions on, block 1 does not run."""

    def stack(self, states):
        for place, block in enumerate(self.layers):
            if place != 1 or states.shape[1] < 9:
                states = block(states)
        return states
