"""Sweeps that are killed, and go on under another launcher: the same files, byte for byte."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

import bauklens
from bauklens.corpus.fit_parts import KeptApart, Share
from bauklens.corpus.workers import Worker
from tests.processes import ROOT, python
from tests.sweeps import digests, prompts_of, write_model, write_prompts
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.long]  # tests/scheduling.py has one worker run all of them

PER, COUNT = 60, 720
OPTIONS = ["--model", "tiny", "--per", str(PER), "--target", " city", "--words", "first", "-o"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--master-port", "0", "--nproc-per-node"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}  # and as many threads as conftest says


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and prompts, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("faults")
    write_model(folder / "tiny")
    rows = prompts_of(COUNT, longest=25)
    rows[100]["prompt"] = ""
    write_prompts(folder / "p.jsonl", rows)
    run_by_itself(folder, "one")
    assert len(digests(folder / "one")) == COUNT // PER
    return folder


def started(launcher, folder, out, *more):
    words = [*launcher, "sweep", "p.jsonl", *OPTIONS, out, *more]
    return subprocess.Popen(
        words,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(launcher, folder, out, *more):
    process = started(launcher, folder, out, *more)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def run_by_itself(folder, out):
    """In one process, which is forked."""
    ran = python("-m", "bauklens", "sweep", "p.jsonl", *OPTIONS, out, cwd=folder)
    assert ran.returncode == 0, ran.stderr


def wait_for(count, folder, process):
    """Until so many shards are written."""
    while len(digests(folder)) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def kill_all_of(process):
    """Ends a program and all that it started, without a last word."""
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        each.kill()
    process.communicate()


def test_two_ranks_of_which_one_is_killed_and_then_three(place):
    out = place / "ranks"
    process = started([*TORCHRUN, "2", "-m", "bauklens"], place, "ranks")
    wait_for(3, out, process)
    ranks = [each for each in psutil.Process(process.pid).children(recursive=True) if "sweep" in each.cmdline()]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode
    expected, halfway = digests(place / "one"), digests(out)
    assert 3 <= len(halfway) < len(expected)
    assert halfway.items() <= expected.items()
    written = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    said = run([*TORCHRUN, "3", "-m", "bauklens"], place, "ranks")
    assert digests(out) == expected
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert not list(out.glob(".bauklens-*"))
    assert said.count("files are in ranks") == 1  # the first rank speaks
    found = bauklens.open_sweep(out)
    assert [(each["worker"], each["workers"]) for each in found.runs if each["workers"] == 3]
    assert found.summary().lenses == COUNT - 1 == COUNT - len(found.failed())


def test_ray_whose_actor_is_killed(place):
    """Ray starts another one, which makes the shard again."""
    pytest.importorskip("ray", reason="the package ray is not installed")
    process = started([sys.executable, "-m", "bauklens"], place, "rays", "--workers", "2", "--ray")
    wait_for(2, place / "rays", process)
    actors = [each for each in psutil.Process(process.pid).children(recursive=True) if "_Maker" in str(each.cmdline())]
    assert len(actors) == 2
    actors[0].kill()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert digests(place / "rays") == digests(place / "one")
    assert said.splitlines()[-1] == f"{COUNT // PER} of {COUNT // PER} files are in rays"


def test_ray_whose_driver_is_killed_and_then_one_process(place):
    pytest.importorskip("ray", reason="the package ray is not installed")
    process = started([sys.executable, "-m", "bauklens"], place, "driver", "--workers", "2", "--ray")
    wait_for(2, place / "driver", process)
    kill_all_of(process)
    expected = digests(place / "one")
    assert digests(place / "driver").items() < expected.items()
    run_by_itself(place, "driver")
    assert digests(place / "driver") == expected


def test_memory_does_not_grow_with_the_number_of_prompts(tmp_path):
    """From prompt 200 to prompt 2,000, by no more than 5 %, of the process as a whole."""
    code = f"""
import psutil, sys
sys.path.insert(0, {str(ROOT)!r})
import bauklens
from tests.sweeps import prompts_of
from tests.tiny import tiny_model, tiny_tokenizer
held = []
def tell(_):
    held.append(psutil.Process().memory_info().rss)
bauklens.sweep(prompts_of(2_000), {str(tmp_path / "out")!r}, tiny_model("gpt2"), tiny_tokenizer(), per=200, tell=tell)
print(len(held), max(held[1:]) / held[0])
"""
    ran = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    shards, growth = ran.stdout.split()
    assert shards == "10"
    assert float(growth) <= 1.05


def test_ranks_fit_parts_of_a_decoder_and_the_last_merges_them(place):
    """Parts of a Jacobian lens, on texts that are no other's, and none that the merged lens is measured on."""
    texts = [" ".join(each["prompt"] for each in prompts_of(12, seed=number)) for number in range(100)]
    (place / "texts.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    words = ["fit", "--texts", "texts.jsonl", "--model", "tiny", "--length", "32", "--skip-first", "4"]
    words += ["--tokens", "600", "--method", "jacobian", "-o", "lens.safetensors"]
    launched = [*TORCHRUN, "2", "-m", "bauklens", *words]
    ran = subprocess.run(launched, cwd=place, env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "wrote lens.safetensors, of 2 parts" in ran.stderr
    assert [path.name for path in place.glob("lens*")] == ["lens.safetensors"]
    found = bauklens.load_decoder(place / "lens.safetensors")
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    shares = [list(Share(texts, Worker(number, 2))) for number in range(2)]
    apart = list(KeptApart(texts))
    assert sorted([*shares[0], *shares[1], *apart]) == sorted(texts)
    options = {"length": 32, "skip_first": 4, "tokens": 300, "method": "jacobian"}
    parts = [bauklens.fit_decoder(model, tokenizer, share, **options) for share in shares]
    merged = bauklens.JacobianLens.merge(parts, model, tokenizer, apart)
    for layer in found.layers:
        assert torch.allclose(found.matrix(layer), merged.matrix(layer), atol=1e-3)
        assert found.quality[layer]["kl"] == pytest.approx(merged.quality[layer]["kl"], rel=1e-3)
    again = subprocess.run(launched, cwd=place, env=ENVIRONMENT, capture_output=True, text=True)
    assert "wrote lens.safetensors, of 2 parts" in again.stderr
