"""Tiny models, and ways to quantize every linear map of theirs, the head among them, with the libraries for that."""

import copy

import pytest
import torch
from torch import nn
from transformers import GPT2Config, LlamaConfig
from transformers.pytorch_utils import Conv1D

from tests.tiny import VOCABULARY, with_random_weights

CONFIGS = {
    "llama": lambda: LlamaConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
    ),
    "gpt2": lambda: GPT2Config(n_embd=64, n_inner=64, n_layer=2, n_head=4, n_positions=64, vocab_size=VOCABULARY),
}
GROUP = 32
"""Numbers that share a scale, where a library has it so."""


def plain_model(name):
    """In float32; GPT-2's Conv1D as Linear, and a head of its own, as libraries quantize these."""
    model = with_random_weights(CONFIGS[name]())
    for place, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            rows, columns = module.weight.shape
            linear = nn.Linear(rows, columns)
            linear.weight, linear.bias = nn.Parameter(module.weight.T.contiguous()), module.bias
            put(model, place, linear)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    return model.requires_grad_(False)


def quantized_model(name, way):
    """A tiny model, quantized; skips the test if the library is not there."""
    return WAYS[way](plain_model(name)).eval()


def put(model, name, module):
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def replaced(model, make):
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            put(model, name, make(module))
    return model


class Packed(nn.Module):
    """Eight bits for each weight, in a buffer of another name and shape, as GPTQ and AWQ have it."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("qweight", (linear.weight / scale).round().to(torch.int8).T.contiguous())
        self.register_buffer("scales", scale)
        self.bias = linear.bias

    def forward(self, states):
        return nn.functional.linear(states, self.qweight.T.to(states.dtype) * self.scales, self.bias)


class Kept(nn.Parameter):
    """A parameter of a class of its own, which holds other numbers than it computes with."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            states, weight, *rest = args
            args = (states, weight.detach().as_subclass(torch.Tensor) / 2, *rest)
        return super().__torch_function__(func, types, args, kwargs or {})


def kept(linear):
    linear.weight = Kept(linear.weight.detach() * 2, requires_grad=False)
    return linear


def rounds_its_input(linear):
    """A plain Linear whose forward is another, as compressed-tensors has it."""
    linear.forward = lambda states: nn.functional.linear((states * 16).round() / 16, linear.weight, linear.bias)
    return linear


def torch_ao(model):
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def torchao(config, **options):
    def quantize(model):
        library = pytest.importorskip("torchao.quantization", reason="torchao is not installed (extra quantized)")
        options.update({name: getattr(torch, value) for name, value in options.items() if isinstance(value, str)})
        library.quantize_(model, getattr(library, config)(**options))
        return model

    return quantize


def bitsandbytes(bits):
    def quantize(model):
        reason = "bitsandbytes is not installed (extra quantized)"
        library = pytest.importorskip("bitsandbytes", reason=reason).nn

        def make(linear):
            kind = library.Linear8bitLt if bits == 8 else library.Linear4bit
            options = {"has_fp16_weights": False} if bits == 8 else {"compute_dtype": torch.float32}
            module = kind(linear.in_features, linear.out_features, linear.bias is not None, **options)
            parameter, options = (
                (library.Int8Params, {"has_fp16_weights": False}) if bits == 8 else (library.Params4bit, {})
            )
            module.weight = parameter(linear.weight.detach().clone(), requires_grad=False, **options)
            module.bias = linear.bias
            return module.to("cpu")  # which quantizes

        return replaced(model, make)

    return quantize


def quanto(weights):
    def quantize(model):
        library = pytest.importorskip("optimum.quanto", reason="optimum-quanto is not developed further")
        library.quantize(model, weights=getattr(library, weights))
        library.freeze(model)
        return model

    return quantize


def hqq(model):
    library = pytest.importorskip("hqq.core.quantize", reason="hqq has no wheel")
    config = library.BaseQuantizeConfig(nbits=4, group_size=GROUP)
    return replaced(model, lambda linear: library.HQQLinear(linear, config, compute_dtype=torch.float32, device="cpu"))


def compressed_tensors(scheme):
    """As the library compresses a model; its weights stay in a mapping of its own."""

    def quantize(model):
        library = pytest.importorskip(
            "compressed_tensors.quantization", reason="compressed-tensors is not installed (extra quantized)"
        )
        from compressed_tensors.compressors import ModelCompressor

        chosen = copy.deepcopy(library.preset_name_to_scheme(scheme, ["Linear"]))
        if chosen.weights.group_size:
            chosen.weights.group_size = GROUP
        config = library.QuantizationConfig(config_groups={"all": chosen}, quantization_status="initialized")
        library.apply_quantization_config(model, config)
        for module in model.modules():
            if hasattr(module, "weight_scale"):
                groups = module.weight.view(*module.weight_scale.shape, -1)
                scale, _ = library.utils.calculate_qparams(groups.amin(dim=-1), groups.amax(dim=-1), chosen.weights)
                module.weight_scale.data.copy_(scale)
        ModelCompressor.from_pretrained_model(model).compress_model(model)
        return model

    return quantize


WAYS = {
    "a packed module": lambda model: replaced(model, Packed),
    "a parameter's class": lambda model: replaced(model, kept),
    "a forward that rounds": lambda model: replaced(model, rounds_its_input),
    "torch.ao int8": torch_ao,
    "torchao int8": torchao("Int8WeightOnlyConfig"),
    "torchao int8, activations too": torchao("Int8DynamicActivationInt8WeightConfig"),
    "torchao float8": torchao("Float8WeightOnlyConfig"),
    "torchao int4": torchao("IntxWeightOnlyConfig", weight_dtype="int4"),
    "torchao int4, activations too": torchao("Int8DynamicActivationIntxWeightConfig", weight_dtype="int4"),
    "compressed-tensors W4A16": compressed_tensors("W4A16"),
    "compressed-tensors W8A8": compressed_tensors("W8A8"),
    "compressed-tensors FP8": compressed_tensors("FP8_DYNAMIC"),
    "bitsandbytes int8": bitsandbytes(8),
    "bitsandbytes int4": bitsandbytes(4),
    "quanto int8": quanto("qint8"),
    "quanto int4": quanto("qint4"),
    "quanto float8": quanto("qfloat8"),
    "hqq int4": hqq,
}
