"""Formulas for the cost of a forward pass and of reading all its layers: operations, bytes, memory. Needs no torch.

The product of a (rows, a) and an (a, b) matrix takes 2 * rows * a * b operations, so a token takes two for each
weight of the matrices (Kaplan et al. 2020, section 2.1). In addition, the attention takes 4 * hidden * tokens for each
token and block: queries with keys, and weights with values (Chowdhery et al. 2022, appendix B, without the factor of 3
for training), not halved for the causal mask. Norms, activations and softmax are left out.
"""

from dataclasses import dataclass

ROW_BYTES = 200
"""The bytes of a row that a rank sends if the head stays in shards: the bound for a top 5."""

TILE_BYTES = 128 << 20
"""The bytes of a tile's logits in float32, which sets how many rows are decoded at once (``chunk_rows=``)."""

LOGIT_BYTES = 2 + (2 + 4) + 2 + 4 + (2 + 4) + (4 + 4) + (8 + 4) + 4
"""Bytes moved per logit in 16 bits, with the default measures, by the steps of bauklens/decode/reading.py.

The product writes it; softmax in float32; top k; the sum of probabilities; logits less the largest; clamping these;
their product with the probabilities; its sum. Each reads and writes its numbers once.
"""

FUSED_LOGIT_BYTES = 4
"""The same if one operation read each logit once: written and read."""

SCRATCH_BYTES = 8
"""Bytes beside each logit of a tile: probabilities and one more number, in float32."""


@dataclass(frozen=True)
class Shape:
    """The shape of a decoder-only transformer.

    Attributes:
        hidden, intermediate: the width of the states, and of an MLP inside.
        heads, kv_heads: the numbers of attention heads, and of heads of keys and values.
        gated: whether an MLP has three matrices, not two.
        tied: whether the head is the embedding.
    """

    name: str
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    gated: bool = True
    tied: bool = False


LLAMA_3 = (
    Shape("Llama 3 8B", 4096, 32, 14336, 32, 8, 128_256),
    Shape("Llama 3 70B", 8192, 80, 28672, 64, 8, 128_256),
    Shape("Llama 3 405B", 16384, 126, 53248, 128, 8, 128_256),
)
"""As in their config.json, and in table 3 of The Llama 3 Herd of Models (2024)."""

MEASURED = {
    "demo": Shape("demo", 576, 30, 1536, 9, 3, 49_152, tied=True),
    "gpt2-xl (random weights)": Shape("gpt2-xl", 1600, 48, 6400, 25, 25, 50_257, gated=False, tied=True),
}
"""The models of docs/performance.json."""


@dataclass(frozen=True)
class Machine:
    """GPUs that work on one model.

    Attributes:
        gpus: how many.
        flops: operations a second of each at its peak, in 16 bits without sparsity.
        bandwidth: bytes a second that each moves to and from its memory.
        link: bytes a second that each sends to the others.
        memory: bytes of memory of each.
        flops_share, bandwidth_share, link_share: how much of these is reached, 0..1.
    """

    gpus: int
    flops: float
    bandwidth: float
    link: float
    memory: float
    flops_share: float
    bandwidth_share: float
    link_share: float

    def seconds(self, flops: float, moved: float) -> float:
        """How long operations that move this many bytes take, if computing and moving overlap."""
        at_work = flops / (self.gpus * self.flops * self.flops_share)
        return max(at_work, moved / (self.gpus * self.bandwidth * self.bandwidth_share))

    def sending(self, bytes_of_each: float) -> float:
        """How many seconds each GPU needs to send this many bytes."""
        return bytes_of_each / (self.link * self.link_share)


def block_weights(shape: Shape) -> int:
    """Weights of the matrices of one block."""
    keys_and_values = 2 * shape.hidden * (shape.hidden // shape.heads) * shape.kv_heads
    mlp = (3 if shape.gated else 2) * shape.hidden * shape.intermediate
    return 2 * shape.hidden**2 + keys_and_values + mlp


def head_weights(shape: Shape) -> int:
    """Weights of the head."""
    return shape.hidden * shape.vocabulary


def parameters(shape: Shape) -> int:
    """All weights of a Llama: embeddings, blocks, norms, head. For other models, biases and positions are left out."""
    norms = (2 * shape.layers + 1) * shape.hidden
    embeddings = head_weights(shape) * (1 if shape.tied else 2)
    return shape.layers * block_weights(shape) + embeddings + norms


def head_flops(shape: Shape, rows: int) -> int:
    """Operations of the product of states with the head."""
    return 2 * head_weights(shape) * rows


def forward_flops(shape: Shape, tokens: int, prompts: int = 1) -> int:
    """Operations of a forward pass over prompts of this many tokens, with the logits of all positions."""
    blocks = 2 * shape.layers * block_weights(shape) * tokens
    attention = 4 * shape.layers * shape.hidden * tokens**2
    return prompts * (blocks + attention + head_flops(shape, tokens))


def lens_rows(shape: Shape, positions: int) -> int:
    """Rows of a lens of the hidden states: the embeddings and the stream after every block."""
    return (shape.layers + 1) * positions


def tile_rows(shape: Shape) -> int:
    """Rows that are decoded at once, unless ``chunk_rows=`` is set."""
    return max(1, TILE_BYTES // (4 * shape.vocabulary))


def forward_bytes(shape: Shape, weight_bytes: float) -> float:
    """Bytes moved in a forward pass: the matrices and the head are read once. Activations are left out."""
    return weight_bytes * (shape.layers * block_weights(shape) + head_weights(shape))


def head_bytes(shape: Shape, rows: int, at_once: int, weight_bytes: float) -> float:
    """Bytes moved in the products with the head, whose weights are read once for each tile of this many rows."""
    return -(-rows // at_once) * weight_bytes * head_weights(shape)


def reading_bytes(shape: Shape, rows: int, logit_bytes: int = LOGIT_BYTES) -> int:
    """Bytes moved by reading all logits of this many rows."""
    return logit_bytes * shape.vocabulary * rows


def weights_of_each(shape: Shape, gpus: int, weight_bytes: float) -> float:
    """Bytes of weights that each GPU holds if all of them are split evenly."""
    return weight_bytes * parameters(shape) / gpus


def lens_memory(shape: Shape, positions: int, at_once: int, gpus: int) -> float:
    """Bytes that each GPU holds for a lens: all states in 16 bits, its part of a tile and of the model's own logits."""
    states = 2 * shape.hidden * lens_rows(shape, positions)
    return states + (at_once * (2 + SCRATCH_BYTES) + 2 * positions) * shape.vocabulary / gpus


def all_reduced(shape: Shape, tokens: int, gpus: int) -> float:
    """Bytes that each GPU sends in a tensor-parallel forward pass: two sums of states for each block, around a ring."""
    return 2 * shape.layers * 2 * (gpus - 1) / gpus * 2 * shape.hidden * tokens


def gathered(shape: Shape, rows: int, gpus: int) -> float:
    """Bytes that each GPU receives from the others if every one gathers all logits in 16 bits."""
    return 2 * shape.vocabulary * rows * (gpus - 1) / gpus


def fewest_gpus(shape: Shape, memory: float, weight_bytes: float) -> int:
    """The smallest power of two of GPUs whose memory holds the weights, with a fifth of it left for everything else."""
    gpus = 1
    while weights_of_each(shape, gpus, weight_bytes) > 0.8 * memory:
        gpus *= 2
    return gpus
