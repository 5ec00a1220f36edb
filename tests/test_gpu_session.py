"""scripts/gpu_session.py as far as a machine without a GPU can try it, and its kernel under Triton's interpreter."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.processes import python

SCRIPTS = Path(__file__).parent.parent / "scripts"

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: pip install triton (Linux)"
)


@pytest.mark.slow
def test_a_session(tmp_path):
    figures = tmp_path / "figures.json"
    words = ["--device", "cpu", "--shape", "tiny", "--dtype", "float32", "--tokens", 16, "--rounds", 1]
    ran = python(SCRIPTS / "gpu_session.py", *words, "--json", figures)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    (run,) = found["runs"]
    ways = {"forward pass", "floor: plus one product per layer", "floor in bfloat16", "bauklens, with its measures"}
    assert set(run["milliseconds"]) >= ways | {"bauklens, top-k only", "notebook: softmax of everything"}
    assert all(each > 0 for each in run["milliseconds"].values())
    assert run["profile"]["product"] > 0
    assert run["profile"]["top-k"] > 0
    assert [each["outcome"] for each in found["checks"] if "CUDA" in each["line"]] == ["left out", "left out"]
    if importlib.util.find_spec("triton") is None:
        assert {"what": "the experimental kernel", "reason": "ModuleNotFoundError: No module named 'triton'"} in found[
            "left out"
        ]
    for text in ("tiny, 3 layers, float32", "What the lens's time is spent on", "out of CUDA memory halves tiles"):
        assert text in ran.stdout


@pytest.mark.slow
def test_what_there_is_no_time_for_is_said(tmp_path):
    figures = tmp_path / "figures.json"
    words = ["--device", "cpu", "--shape", "gptj", "--tokens", 4096, "--minutes", 0.01, "--json", figures]
    ran = python(SCRIPTS / "gpu_session.py", *words)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["runs"] == []
    left_out = {each["what"]: each["reason"] for each in found["left out"]}
    assert left_out["gptj, float16, 4,096 tokens"].startswith("it needs about 30 seconds, ")
    assert "Left out or failed" in ran.stdout


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_session_without_cuda_is_one_clear_line():
    ran = python(SCRIPTS / "gpu_session.py")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("Error: torch ")
    assert "sees no CUDA device" in ran.stderr.splitlines()[0]
    assert "Traceback" not in ran.stderr


def test_a_section_of_the_docs(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(SCRIPTS)
    from benchmark import write_docs
    from gpu_table import GPU, of_gpus

    floor = "floor: plus one product per layer"
    run = {"shape": "gptj", "dtype": "float16", "tokens": 128, "layers": 28, "state_bytes": 2e6}
    run |= {"milliseconds": {"forward pass": 4.0, floor: 5.0, "other": 7.5}, "failed": {}}
    run |= {"peak_bytes": {"forward pass": 1e6, floor: None, "other": 4e6}, "profile": {"product": 1.5, "top-k": 0.25}}
    timed = {"way": "kernel", "dtype": "float16", "rows": 640, "vocabulary": 50257}
    timed |= {"milliseconds": 0.1, "torch, milliseconds": 0.5, "GB/s": 643.0}
    found = {"machine": "a GPU", "versions": {"torch": "3"}, "rounds": 5, "minutes": 9.0, "seconds": 321.0}
    found |= {"runs": [run], "kernel": {"equality": [], "times": [timed]}, "command": "it"}
    found |= {"checks": [{"what": "memory", "outcome": "ok", "line": "halved"}], "left out": []}
    text = of_gpus(found)
    assert text.startswith("## GPUs\n")
    for line in (
        "| other | 7.50 | 1.50 | 3 |",
        "| floor: plus one product per layer | 5.00 | 1.00 |  |",
        "| gptj, float16, 128 tokens | 1.50 | 0.25 |",
        "| kernel, float16, 640 x 50,257 | 0.100 | 0.500 | 5.00 | 643 |",
        "| memory | ok | halved |",
    ):
        assert line in text.splitlines()
    assert "Left out" not in text
    (tmp_path / GPU).write_text(json.dumps(found), encoding="utf-8")
    write_docs([], tmp_path)
    assert text in (tmp_path / "PERFORMANCE.md").read_text(encoding="utf-8")


def test_kernels_are_told_apart_by_their_names(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from gpu_timing import kind_of

    names = {
        "sm90_xmma_gemm_f16f16_f32_tn": "product",
        "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNT": "product",
        "void cublasLt::splitKreduce_kernel<32, 16>": "product",
        "void at::native::sbtopk::gatherTopK<float, unsigned int>": "top-k",
        "void at::native::radixSortKVInPlace<2, -1>": "top-k",
        "Memcpy DtoH (Device -> Pageable)": "copies to the host",
        "Memcpy DtoD (Device -> Device)": "other copies",
        "void (anonymous namespace)::cunn_SoftMaxForward<4, float>": "softmax, reductions",
        "void at::native::reduce_kernel<512, 1, ReduceOp<float>>": "softmax, reductions",
        "void at::native::vectorized_elementwise_kernel<4, CUDAFunctor_add<float>>": "arithmetic",
    }
    assert {name: kind_of(name) for name in names} == names


@needs_triton
@pytest.mark.slow
def test_the_kernel_is_right_to_rounding():
    """Under the interpreter, in a process that has it from the start."""
    found = _checked({"TRITON_INTERPRET": "1"}, "--device", "cpu", "--rows", 0)
    assert [case for case in found["equality"] if not case["equal"]] == []
    assert len(found["equality"]) == 21
    assert found["not finite"]


@needs_triton
@pytest.mark.slow
def test_the_kernel_compiles_for_an_h100(tmp_path):
    found = _checked({"TRITON_CACHE_DIR": str(tmp_path)}, "--compile-for", 90)
    assert set(found) == {"float32", "float16", "bfloat16"}
    assert min(found.values()) > 0


def _checked(environment, *words):
    command = [sys.executable, str(SCRIPTS / "gpu_kernel_check.py"), *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
