"""What reading all layers costs on paper: each formula against numbers worked out by hand."""

import re
from pathlib import Path

import pytest

from scripts.cost_formulas import (
    LLAMA_3,
    LOGIT_BYTES,
    MEASURED,
    Machine,
    Shape,
    all_reduced,
    block_weights,
    fewest_gpus,
    forward_bytes,
    forward_flops,
    gathered,
    head_bytes,
    head_flops,
    lens_memory,
    lens_rows,
    parameters,
    reading_bytes,
    tile_rows,
    weights_of_each,
)
from tests.processes import python

ROOT = Path(__file__).parent.parent
SMALL = Shape("small", hidden=8, layers=3, intermediate=16, heads=4, kv_heads=2, vocabulary=100)
OTHER = Shape("other", hidden=8, layers=3, intermediate=32, heads=4, kv_heads=4, vocabulary=100, gated=False, tied=True)


def test_parameters_by_hand():
    # queries and output 8 x 8 each, keys and values 8 x 4 each, three matrices of 8 x 16
    assert block_weights(SMALL) == 64 + 64 + 32 + 32 + 3 * 128
    # three blocks, two tables of 100 x 8, two norms a block and a final one
    assert parameters(SMALL) == 3 * 576 + 2 * 800 + 7 * 8
    assert block_weights(OTHER) == 4 * 64 + 2 * 256
    assert parameters(OTHER) == 3 * 768 + 800 + 7 * 8


def test_parameters_are_those_that_transformers_counts():
    """Of the real configurations, whose weights take no memory on the meta device."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for shape in (*LLAMA_3, MEASURED["demo"]):
        config = LlamaConfig(
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            intermediate_size=shape.intermediate,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            vocab_size=shape.vocabulary,
            tie_word_embeddings=shape.tied,
        )
        with torch.device("meta"):
            assert LlamaForCausalLM(config).num_parameters() == parameters(shape)
    assert [parameters(shape) for shape in LLAMA_3] == [8_030_261_248, 70_553_706_496, 405_853_388_800]


def test_operations_by_hand():
    # 10 tokens: 2 for each of 3 x 576 weights; attention 4 x 8 x 10 a token and block; the head 2 x 8 x 100
    assert forward_flops(SMALL, 10) == 10 * (2 * 3 * 576 + 3 * 4 * 8 * 10 + 2 * 8 * 100)
    assert forward_flops(SMALL, 10, prompts=7) == 7 * forward_flops(SMALL, 10)
    assert forward_flops(SMALL, 20) > 2 * forward_flops(SMALL, 10)  # of the attention
    assert lens_rows(SMALL, 10) == 40
    assert head_flops(SMALL, 40) == 40 * 2 * 8 * 100


def test_operations_are_those_that_torch_counts():
    """A forward pass of a real model; its attention is counted in full, as the formula does."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=8,
        num_hidden_layers=3,
        intermediate_size=16,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=100,
        attn_implementation="eager",
    )
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        LlamaForCausalLM(config)(torch.arange(10)[None])
    rotary = 2 * 10 * (8 // 4 // 2)  # positions times frequencies, a product of matrices
    assert counter.get_total_flops() - forward_flops(SMALL, 10) in (0, rotary)


def test_bytes_by_hand():
    assert tile_rows(LLAMA_3[0]) == 134_217_728 // (4 * 128_256) == 261
    assert forward_bytes(SMALL, 2) == 2 * (3 * 576 + 800)
    assert head_bytes(SMALL, rows=40, at_once=15, weight_bytes=2) == 3 * 2 * 800  # 15, 15 and 10 rows
    assert LOGIT_BYTES == 44
    assert reading_bytes(SMALL, 40) == 44 * 100 * 40
    assert weights_of_each(SMALL, 4, 2) == 2 * parameters(SMALL) / 4
    # states of 40 rows in 16 bits; a quarter of 15 x 100 logits at 10 bytes, and of 10 x 100 at 2
    assert lens_memory(SMALL, 10, at_once=15, gpus=4) == 40 * 8 * 2 + (15 * 100 * 10 + 10 * 100 * 2) / 4


def test_what_is_sent_by_hand():
    # 3 blocks, two sums each of 10 x 8 numbers of 2 bytes, of which a ring of 4 sends 2 x 3/4
    assert all_reduced(SMALL, 10, gpus=4) == 3 * 2 * 160 * 1.5
    assert all_reduced(SMALL, 10, gpus=1) == 0
    assert gathered(SMALL, 40, gpus=4) == 40 * 100 * 2 * 3 / 4
    assert gathered(LLAMA_3[1], lens_rows(LLAMA_3[1], 1024), gpus=8) == pytest.approx(18.6e9, rel=1e-3)


def test_time_is_that_of_what_takes_longer():
    machine = Machine(4, 100.0, 10.0, 5.0, 80.0, flops_share=0.5, bandwidth_share=0.25, link_share=0.5)
    assert machine.seconds(400, 0) == 400 / (4 * 50)
    assert machine.seconds(400, 10) == 2  # 10 bytes take 1 second
    assert machine.seconds(400, 100) == 10
    assert machine.sending(5) == 2


def test_gpus_of_a_copy():
    # 16, 141 and 812 GB of weights in 80 GB each, a fifth of which is left
    assert [fewest_gpus(shape, 80e9, 2) for shape in LLAMA_3] == [1, 4, 16]
    assert [fewest_gpus(shape, 80e9, 1) for shape in LLAMA_3] == [1, 2, 8]


@pytest.mark.slow
class TestTheScript:
    def ran(self, *words):
        found = python(ROOT / "scripts" / "cost.py", *words)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def test_the_page_has_what_it_prints(self):
        text = self.ran("--markdown")
        page = (ROOT / "docs" / "large-models.md").read_text(encoding="utf-8")
        assert text.strip() in page

    def test_its_tables(self):
        text = self.ran("--markdown")
        rows = dict(re.findall(r"^\| ([^|]+) \| (.*) \|$", text, re.MULTILINE))
        assert rows["forward: TFLOP"] == "15.9 | 145.1 | 835.5"
        assert rows["lens: TFLOP of the head"] == "35.5 | 174.3 | 546.6"
        assert rows["lens: rows"] == "33,792 | 82,944 | 130,048"
        assert rows["copies"] == "64 | 16 | 4"
        # 1,000,000 / 16 batches of 1.93 TFLOP x 16, at 989 TFLOP/s / 2, on 64 GPUs
        assert rows["forward: minutes"].startswith("1.0 | ")

    def test_options_and_a_terminal(self):
        text = self.ran("--gpus", 1, "--corpus-gpus", 2, "--weight-bytes", 1, "--peak", 312, "--tokens", 10)
        lines = [line.strip() for line in text.splitlines()]
        assert "One prompt of 10 tokens on 1 GPU" in lines
        assert "312 TFLOP/s" in " ".join(lines)
        copies = next(line for line in lines if "GPUs of a copy" in line)
        assert re.findall(r"\d+", copies) == ["1", "2", "8"]

    def test_a_share_above_all_is_refused(self):
        found = python(ROOT / "scripts" / "cost.py", "--peak-share", 2)
        assert found.returncode == 2
        assert "is not in the range" in found.stderr
