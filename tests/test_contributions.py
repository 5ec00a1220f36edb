"""What each part adds to a logit, beside sums made by hand."""

import json
import pickle

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import CohereConfig, GraniteConfig, MambaConfig

from bauklens import Contributions, LensError, contributions
from bauklens.cli import main
from tests.test_coverage import NO_LENS, SPECS, build
from tests.test_coverage import PROMPT as COVERAGE_PROMPT
from tests.test_heads import HEADS, MODELS, PROJECTIONS, by_hand, seen
from tests.tiny import (
    LAYERS,
    PROMPT,
    TEXT,
    VOCABULARY,
    WIDTH,
    hook_count,
    tiny_model,
    tiny_tokenizer,
    with_random_weights,
)

ONE, OTHER = 44, 118

NOT_A_SUM = set(
    """
    bert big_bird blt blt@decoder camembert cpmant data2vec-text deepseek_v4 dory electra electra@proj ernie gemma3n
    gemma3n_text hy_v4 megatron-bert modernbert-decoder moshi musicgen musicgen_melody prophetnet qwen4_exp
    qwen4_exp_text qwen4_exp_text@ple reformer rembert roberta roberta-prelayernorm roc_bert roformer xlm-roberta
    xlm-roberta-xl xlnet xmod xmod@prenorm
    """.split()  # noqa: SIM905
)
"""Of the coverage list, those whose logits are not one norm and a head of what two sublayers or a block add."""


def own_logits(model, prompt=PROMPT):
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0].float()


@pytest.mark.parametrize("name", MODELS)
def test_they_add_up_to_the_logit(name):
    model = MODELS[name]()
    model.config.final_logit_softcapping = None
    own = own_logits(model)
    for position in (-1, 3):
        found = contributions(model, None, PROMPT, ONE, position=position)
        assert abs(found.values.sum() - own[position, ONE]) < 1e-4
        assert abs(found.logit - own[position, ONE]) < 1e-4
        assert found.model_logit == pytest.approx(float(own[position, ONE]), abs=1e-5)  # of fewer positions at once
        both = contributions(model, None, PROMPT, [ONE, OTHER], position=position)
        assert abs(both.values.sum() - (own[position, ONE] - own[position, OTHER])) < 1e-4
        assert both.parts == found.parts
        assert both.target_ids == (ONE, OTHER)
    heads = [f"{layer}.h{head}" for layer in range(LAYERS) for head in range(HEADS)]
    assert [part for part, kind in zip(found.parts, found.kinds, strict=True) if kind == "head"] == heads
    assert ("0.bias" in found.parts) == (name in ("gpt2", "opt", "bloom"))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_part_is_what_it_writes_through_the_norm_at_its_scale(name):
    model, found = MODELS[name](), contributions(MODELS[name](), None, PROMPT, [ONE, OTHER])
    norm_name = "transformer.ln_f" if name == "gpt2" else "model.norm"
    path = "transformer.h" if name == "gpt2" else "model.layers"
    projection, mlp = f"{path}.1.{PROJECTIONS[name]}", f"{path}.1.mlp"
    run = seen(model, [norm_name, projection, mlp])
    final, norm, head = run[norm_name][0][0, -1], model.get_submodule(norm_name), model.get_output_embeddings()
    centre = (lambda x: x - x.mean()) if name == "gpt2" else (lambda x: x)
    epsilon = getattr(norm, "eps", None) or norm.variance_epsilon
    scale = (centre(final).square().mean() + epsilon).sqrt()
    rows = head.weight[ONE] - head.weight[OTHER]

    def adds(state):
        return float(norm.weight * centre(state) / scale @ rows)

    given = run[projection][0][0, -1]
    for number in range(HEADS):
        right = adds(by_hand(model.get_submodule(projection), given, number, HEADS))
        assert found[f"1.h{number}"] == pytest.approx(right, abs=1e-4)
    assert found["1.mlp"] == pytest.approx(adds(run[mlp][1][0, -1]), abs=1e-4)
    if name == "gpt2":
        assert found["1.bias"] == pytest.approx(adds(model.transformer.h[1].attn.c_proj.bias), abs=1e-4)
        assert found["bias"] == pytest.approx(float(norm.bias @ rows), abs=1e-4)


def test_a_soft_cap_is_left_out_and_said():
    model = tiny_model("gemma2")
    capped = float(own_logits(model)[-1, ONE])
    found = contributions(model, None, PROMPT, ONE)
    assert found.model_logit == pytest.approx(capped, abs=1e-4)
    assert 5.0 * np.tanh(found.logit / 5.0) == pytest.approx(capped, abs=1e-4)
    assert abs(found.values.sum() - found.logit) < 1e-4


def test_a_scale_of_the_logits_is_in_them():
    config = CohereConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        vocab_size=VOCABULARY,
        logit_scale=0.25,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = with_random_weights(config)
    found = contributions(model, None, PROMPT, ONE)
    assert abs(found.values.sum() - own_logits(model)[-1, ONE]) < 1e-4


def test_bfloat16_says_what_rounding_makes():
    found = contributions(tiny_model("llama", torch.bfloat16), None, PROMPT, ONE)
    assert found.values.sum() + found.rounding == pytest.approx(found.logit, abs=1e-4)
    assert abs(found.rounding) < 0.05 * np.abs(found.values).sum()


def test_by_sublayer():
    found = contributions(tiny_model("gpt2"), None, PROMPT, ONE)
    coarse = found.by_sublayer()
    assert coarse.parts == ("embed", "0.attention", "0.mlp", "1.attention", "1.mlp", "2.attention", "2.mlp", "bias")
    assert coarse["1.attention"] == pytest.approx(sum(found[f"1.{each}"] for each in ("h0", "h1", "h2", "h3", "bias")))
    assert coarse.values.sum() == pytest.approx(found.values.sum(), abs=1e-4)


def test_blocks_without_two_sublayers_are_one_part_each():
    model = with_random_weights(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=VOCABULARY, state_size=4))
    found = contributions(model, None, PROMPT, ONE)
    assert found.parts == ("embed", "0", "1", "bias")
    assert abs(found.values.sum() - own_logits(model)[-1, ONE]) < 1e-4
    assert "Blocks are not split into attention and MLP" in found.notes[0]


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gptj", "opt"])
def test_neurons_are_what_each_writes_through_the_norm_at_its_scale(name):
    """All neurons of an MLP, and its bias, add up to its part; Gemma's MLPs are normed before they are added."""
    model = MODELS[name]() if name in MODELS else tiny_model(name)
    found = contributions(model, None, PROMPT, [ONE, OTHER], neurons=10_000)
    assert [abs(each.value) for each in found.neurons] == sorted(abs(each.value) for each in found.neurons)[::-1]
    path = {"gpt2": "transformer.h", "gptj": "transformer.h", "opt": "model.decoder.layers"}.get(name, "model.layers")
    last = {"gpt2": "mlp.c_proj", "gptj": "mlp.fc_out", "opt": "fc2"}.get(name, "mlp.down_proj")
    for layer in range(LAYERS):
        projection = model.get_submodule(f"{path}.{layer}.{last}")
        of_layer = [each for each in found.neurons if each.layer == str(layer)]
        weight = projection.weight
        assert len(of_layer) == weight.shape[0 if name == "gpt2" else 1]
        of_none = 0.0
        if getattr(projection, "bias", None) is not None:
            own = model.get_submodule(
                {"gpt2": "transformer.ln_f", "gptj": "transformer.ln_f"}.get(name, "model.decoder.final_layer_norm")
            )
            final = seen(model, [next(n for n, each in model.named_modules() if each is own)])
            state = next(iter(final.values()))[0][0, -1]
            scale = ((state - state.mean()).square().mean() + own.eps).sqrt()
            head = model.get_output_embeddings().weight
            of_none = float(own.weight * (projection.bias - projection.bias.mean()) / scale @ (head[ONE] - head[OTHER]))
        assert sum(each.value for each in of_layer) + of_none == pytest.approx(found[f"{layer}.mlp"], abs=1e-3)
    few = contributions(model, None, PROMPT, [ONE, OTHER], neurons=3)
    assert [each[:3] for each in few.neurons] == [each[:3] for each in found.neurons[:3]]
    assert few.values.tolist() == found.values.tolist()
    assert few.neurons[0].part == f"{few.neurons[0].layer}.n{few.neurons[0].part.split('.n')[1]}"


def test_neurons_have_the_scale_that_a_block_adds_its_mlp_with():
    config = GraniteConfig(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        residual_multiplier=0.3,
    )
    found = contributions(with_random_weights(config), None, PROMPT, ONE, neurons=1_000)
    for layer in ("0", "1"):
        own = [each.value for each in found.neurons if each.layer == layer]
        assert len(own) == 48
        assert sum(own) == pytest.approx(found[f"{layer}.mlp"], abs=1e-4)


def test_one_neuron_by_hand():
    model = MODELS["llama"]()
    found = contributions(model, None, PROMPT, ONE, neurons=1).neurons[0]
    number, layer = int(found.part.split(".n")[1]), int(found.layer)
    down = f"model.layers.{layer}.mlp.down_proj"
    run = seen(model, ["model.norm", down])
    final, norm = run["model.norm"][0][0, -1], model.model.norm
    written = run[down][0][0, -1, number] * model.get_submodule(down).weight[:, number]
    scale = (final.square().mean() + norm.variance_epsilon).sqrt()
    assert found.value == pytest.approx(float(norm.weight * written / scale @ model.lm_head.weight[ONE]), abs=1e-4)


def test_neurons_that_cannot_be_told_apart_are_said():
    found = contributions(MODELS["bloom"](), None, PROMPT, ONE, neurons=3)
    assert found.neurons == ()
    assert any("neurons of layers 0 .. 2 are not told apart" in note for note in found.notes)
    model = with_random_weights(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=VOCABULARY, state_size=4))
    assert (
        "Neurons are not listed, because MLPs are not separate parts."
        in contributions(model, None, PROMPT, ONE, neurons=3).notes
    )
    with pytest.raises(LensError, match="neurons"):
        contributions(tiny_model("gpt2"), None, PROMPT, ONE, neurons=-1)


def test_the_target_is_by_default_what_the_model_says():
    model = tiny_model("llama")
    assert contributions(model, None, PROMPT).target_ids == (int(own_logits(model)[-1].argmax()),)
    assert contributions(model, None, PROMPT, position=3).target_ids == (int(own_logits(model)[3].argmax()),)


def test_they_are_saved_and_loaded(tmp_path):
    found = contributions(tiny_model("llama"), tiny_tokenizer(), TEXT, [" the", " city"], neurons=4)
    found.save(tmp_path / "parts.json")
    again = Contributions.load(tmp_path / "parts.json")
    assert again.to_dict() == found.to_dict() == pickle.loads(pickle.dumps(found)).to_dict()
    assert again.neurons == found.neurons
    assert np.array_equal(again.values, found.values)
    with pytest.raises(LensError, match=r"contributions must be saved as a \.json file"):
        found.save(tmp_path / "parts.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "bauklens.lens"}, "not contributions: looked"),
        ({"version": 2}, "contributions of version 2"),
        ({"values": [1.0]}, "values has shape"),
        ({"parts": 3}, "damaged"),
        ({"target_ids": [1.5, 2]}, "the target's tokens are not ids"),
        ({"neurons": [["0.n1", "neuron", "0", "much"]]}, "what a neuron adds is not a number"),
        ({"neurons": [[1, "neuron", "0", 1.0]]}, "a neuron's name is not a text"),
        ({"neurons": [["0.n1"]]}, "damaged"),
        ({"logit": "x"}, "damaged"),
        ({"provenance": None}, "provenance is not a mapping"),
    ],
)
def test_a_damaged_file_is_refused(change, said):
    data = contributions(tiny_model("llama"), None, PROMPT, [ONE, OTHER], neurons=1).to_dict()
    with pytest.raises(LensError, match=said):
        Contributions.from_dict(data | change)


COMMAND = ("attribute", "the tower is", "--model", "model", "--target", " the")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a tiny model and its tokenizer, in which the command runs."""
    tiny_model("gpt2").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command(folder):
    words = [word for name in ("out.html", "out.csv", "out.json", "out.png") for word in ("-o", name)]
    ran = CliRunner().invoke(main, [*COMMAND, *words, "--target", " city", "-k", "4", "--neurons", "2"])
    assert ran.exit_code == 0, ran.output
    found = Contributions.load(folder / "out.json")
    assert found.targets == (" the", " city")
    assert "What adds to the logit of ␣the less the logit of ␣city" in ran.stdout
    assert [each.part for each in found.ranked(4)] == [
        line.split()[0] for line in ran.stdout.splitlines() if line.split() and line.split()[0] in found.parts
    ]
    assert found.neurons[1].part in ran.stdout
    assert f"{found.logit:+.3f}" in ran.stdout
    page = (folder / "out.html").read_text()
    assert page.startswith("<!doctype html>")
    assert found.neurons[0].part in page
    assert page.count('class="less"') == sum(each.value < 0 for each in [*found.ranked(40), *found.neurons])
    assert len((folder / "out.csv").read_text().splitlines()) == 1 + len(found)
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_json(folder):
    ran = CliRunner().invoke(main, [*COMMAND, "--by", "sublayer", "--position", "0", "--json", "-"])
    found = Contributions.from_dict(json.loads(ran.stdout))
    assert found.parts == ("embed", "0.attention", "0.mlp", "1.attention", "1.mlp", "2.attention", "2.mlp", "bias")
    assert found.position == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "out.txt"), "contributions are written as one of .html, .csv, .json"),
        (("--json", "-", "--csv", "-"), "JSON and CSV cannot both go to standard output"),
        (("--target", "a", "--target", "b"), "--target is given once, or twice"),
        (("--position", "99"), "unknown position 99"),
        (("-o", "nowhere/out.html"), "does not exist"),
    ],
)
def test_the_command_refuses_in_one_line(folder, words, said):
    ran = CliRunner().invoke(main, [*COMMAND, *words])
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


def test_the_forms(tmp_path):
    model = tiny_model("llama")
    found = contributions(model, tiny_tokenizer(), TEXT, [" the", " city"])
    ranked = found.ranked(5)
    assert [abs(each.value) for each in ranked] == sorted((abs(each) for each in found.values), reverse=True)[:5]
    frame = found.to_frame()
    assert list(frame.columns) == ["part", "kind", "layer", "value", "rank"]
    assert frame.loc[frame["rank"] == 1, "part"].item() == ranked[0].part
    assert ranked[0].part in repr(found)
    assert len(repr(found)) < 400
    assert "logit of ' the' - logit of ' city'" in repr(found)
    assert f">{ranked[0].part}<" in found._repr_html_()
    figure = found.plot(4)
    bars = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert bars == [*(each.part for each in found.ranked(4)), f"{len(found) - 4} others"]
    assert sum(bar.get_width() for bar in figure.axes[0].patches) == pytest.approx(found.logit, abs=1e-4)
    figure.savefig(tmp_path / "bars.png")
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 1
    assert hook_count(model) == 0


@pytest.mark.filterwarnings("ignore:.*tokens:UserWarning")
def test_texts_that_begin_with_the_same_token_do_not_differ():
    with pytest.raises(LensError, match="'city' and 'city xx' begin with the same token"):
        contributions(tiny_model("llama"), tiny_tokenizer(), TEXT, ["city", "city xx"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": 4000}, "4000"),
        ({"target": [1, 2, 3]}, "one token, or two for their difference; got 3"),
        ({"target": [5, 5]}, "given twice"),
        ({"target": {"both": [5, 6]}}, "target is a set of tokens"),
        ({"target": 5, "position": 40}, "unknown position 40"),
        ({"target": 5, "position": [1, 2]}, r"position is \[1, 2\]: pass a whole number"),
    ],
)
def test_what_cannot_be_is_one_line(options, said):
    with pytest.raises(LensError, match=said) as found:
        contributions(tiny_model("llama"), None, PROMPT, **options)
    assert "\n" not in str(found.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(set(SPECS) - NO_LENS))
def test_they_add_up_in_every_type_or_the_error_says_why(name, record_property):
    model = build(name)
    if name in NOT_A_SUM:
        with pytest.raises(LensError):
            contributions(model, None, COVERAGE_PROMPT, 7)
        return
    found = contributions(model, None, COVERAGE_PROMPT, 7)
    assert abs(found.values.sum() - found.logit) < 1e-4 * max(1, np.abs(found.values).max())
    record_property("types whose parts add up to the logit", SPECS[name]["base_model_type"])
