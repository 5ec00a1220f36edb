"""The command as a person runs it: real processes, real files."""

import copy
import errno
import importlib.metadata
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
import torch
from rich.console import Console
from transformers import T5Config, T5ForConditionalGeneration

import bauklens
from bauklens import LensResult
from bauklens.cli.as_options import as_options
from bauklens.cli.commands import main
from bauklens.cli.one_line import OneLineErrors
from bauklens.cli.option_values import template_of
from bauklens.cli.output import print_values
from bauklens.cli.prompt_files import read_prompts
from bauklens.model import caches, tracedict, tracing
from bauklens.show.terminal import print_position
from tests.made import made
from tests.processes import python, status_of
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow  # each starts a process

STARTED = (sys.executable, "-m", "bauklens")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny GPT-2 with its tokenizer, saved as a user would have it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    tiny_model("gpt2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def command(tmp_path, folder):
    """Runs ``bauklens`` in an empty folder; the model is the tiny one unless another is named.

    It is started anew, imports and all, if a program or an environment of its own is given.
    """

    def run(*arguments, model=folder, program=None, stdin="", environment=None):
        chosen = (
            ["--model", str(model)]
            if model and arguments[0] in {"lens", "report", "inspect", "summarize", "compare"}
            else []
        )
        words = [arguments[0], *chosen, *arguments[1:]]
        if program is environment is None:
            return python("-m", "bauklens", *words, cwd=tmp_path, stdin=stdin)
        environment = os.environ | {"HF_HUB_OFFLINE": "1"} | (environment or {})
        return subprocess.run(
            [*(program or STARTED), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            input=stdin,
            check=False,
        )

    return run


def assert_one_line(ran, *parts):
    """An error is one line on stderr, status 2, nothing on stdout, no traceback."""
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    lines = [line for line in ran.stderr.splitlines() if line and "Loading weights" not in line]
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith("Error: ")
    for part in parts:
        assert part in lines[0]


def test_lens_prints_layers_down_and_top_k_across(command, folder):
    ran = command("lens", "the city", "--topk", "2")
    assert ran.returncode == 0, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines() if line.strip()]
    assert lines[0] == ["tiny-gpt2,", "hidden,", "position", "1:", "␣city"]
    assert lines[1] == ["layer", "top", "1", "top", "2"]
    assert [line[0] for line in lines[3:7]] == ["embed", "0", "1", "2"]
    assert float(lines[3][1]) <= 1


def test_a_model_in_a_subfolder(command, folder):
    ran = command("lens", "the city", "--model", str(folder.parent), "--subfolder", folder.name)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0].startswith("tiny-gpt2, hidden")


def test_a_base_of_what_is_no_adapter(command, folder):
    assert_one_line(
        command("lens", "the city", "--base", "demo"), "--base is for adapters, and", "tiny-gpt2 is not one"
    )


def test_an_encoder_decoder_is_told_what_it_has_written(command, tmp_path):
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(vocab_size=len(tiny_tokenizer()), **sizes)).save_pretrained(tmp_path / "t5")
    tiny_tokenizer().save_pretrained(tmp_path / "t5")
    ran = command("lens", "the city", "--model", "t5", "--text-target", "of the sea", "--json", "-")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["tokens"][1:] == ["of", " the", " sea"]


def test_an_image_needs_a_model_that_reads_images(command, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert_one_line(
        command("lens", "the city", "--image", "a.png"), "GPT2LMHeadModel does not read images: leave --image out"
    )


def test_a_sound_needs_a_model_that_reads_sounds(command, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    assert_one_line(
        command("lens", "the city", "--audio", "a.wav"), "GPT2LMHeadModel does not read sounds: leave --audio out"
    )


def test_an_error_names_the_options_of_the_command(command):
    ran = command("lens", "the city", "--text-target", "of the sea")
    assert_one_line(ran, "--text-target is what the decoder of an encoder-decoder has written, but GPT2LMHeadModel")


def test_a_pipe_is_given_every_column_and_no_progress_bar(command):
    ran = command("lens", "the city", "--topk", "40", program=STARTED)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[2].split()[-1] == "40"
    assert "…" not in ran.stdout
    assert ran.stderr == ""


def test_a_terminal_is_given_what_fits():
    result = made(3, 2, 9, texts=["a" * 9, "b" * 30])
    for width in (20, 60, 80, 200):
        console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        print_position(result, 1, console)
        lines = console.file.getvalue().splitlines()
        table = [line for line in lines if line.strip()][1:6]
        shown = table[0].count("top")
        assert max(len(line.rstrip()) for line in table) <= width
        assert (f"top {shown} of 9" in console.file.getvalue()) == (shown < 9)
        assert all(line.count("a" * 9) + line.count("b" * 16 + "…") == shown for line in table[2:]) or width == 20


def test_another_position(command):
    assert "position 0: the" in command("lens", "the city", "--position", "0").stdout
    assert "position 0: the" in command("lens", "the city", "--position=-2").stdout


def test_lens_writes_what_is_asked(command, tmp_path):
    ran = command(
        "lens", "the city", "--stream", "delta", "--look", "classic", "-o", "lens.html", "--json", "lens.json"
    )
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "lens.html").read_text(encoding="utf-8")
    assert 'class="bauklens classic"' in page
    result = LensResult.load(tmp_path / "lens.json")
    assert result.layers == ("0", "1", "2")
    assert result.stream == "delta"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lens.html", "lens.json"]


def test_json_on_standard_output_is_json_alone(command):
    ran = command("lens", "the city", "--json", "-", "--norm", "none")
    data = json.loads(ran.stdout)
    assert data["format"] == "bauklens.lens"
    assert data["norm"] is None


def test_the_installed_command_is_the_module(command):
    installed = [Path(sys.executable).parent / "bauklens"]
    assert command("--version", program=STARTED).stdout == command("--version", program=installed).stdout
    assert command("lens", "--help", model=None).stdout.startswith("Usage: ")


def test_a_report_and_a_comparison_follow_targets(command, tmp_path):
    (tmp_path / "prompts.txt").write_text("the city\nis in\n")
    for arguments in (["report", "prompts.txt"], ["compare", "the city", "the sea"]):
        ran = command(*arguments, "--target", "tower", "-o", "page.html")
        assert ran.returncode == 0, ran.stderr
        assert "tower" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prompts.txt", "the city\n\nis in <b>the sea</b>\n"),
        ("prompts.jsonl", '{"prompt": "the city", "title": "One"}\n{"prompt": "is in <b>the sea</b>"}\n'),
    ],
)
def test_report(command, tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    ran = command("report", name, "-o", "report.html", "--title", "Both")
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<table class="lens') == 2
    assert "<h1><bdi>Both</bdi></h1>" in page
    assert "<h2><bdi>is in &lt;b&gt;the sea&lt;/b&gt;</bdi></h2>" in page
    assert ("<h2><bdi>One</bdi></h2>" in page) == name.endswith("jsonl")


def test_inspect(command):
    ran = command("inspect", "--prompt", "the city")
    assert ran.returncode == 0, ran.stderr
    said = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines() if line.strip() and line[0] != " ")
    assert said["type"] == "gpt2 (GPT2LMHeadModel)"
    assert said["embedding"] == "transformer.drop"
    assert said["blocks"] == "3 (transformer.h.0 .. transformer.h.2)"
    assert said["width"] == "32"
    assert said["vocabulary"] == "320"
    assert said["parameters"] == f"{sum(each.numel() for each in tiny_model('gpt2').parameters()):,}"
    assert said["tail"] == "transformer.ln_f (LayerNorm)"
    assert "            lm_head (Linear)" in ran.stdout.splitlines()
    assert "differ from the model's own by at most" in said["check"]


@pytest.fixture
def doctor(command, tmp_path):
    """Runs ``bauklens doctor`` beside packages that are made for it -> what it says, line by line."""

    def run(packages=(), **environment):
        for name, code in dict(packages).items():
            (tmp_path / "made" / name).mkdir(parents=True)
            (tmp_path / "made" / name / "__init__.py").write_text(code)
        path = {"PYTHONPATH": f"{tmp_path / 'made'}{os.pathsep}{Path(bauklens.__file__).parent.parent}"}
        ran = command("doctor", environment={"BAUKLENS_CACHE": str(tmp_path / "none")} | path | environment)
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr
        return {line[:17].strip(): line[17:] for line in ran.stdout.splitlines()}

    return run


def test_doctor(doctor, tmp_path):
    said = doctor(HF_HUB_CACHE=str(tmp_path))
    assert said["bauklens"] == f"{bauklens.__version__} in {Path(bauklens.__file__).parent}"
    for name in ("torch", "transformers", "numpy", "pandas", "plotly"):
        assert said[name] == importlib.metadata.version(name)
    assert re.fullmatch(
        r"\d+ threads; (.+: float32 models are decoded in .*(bf|i)[^ ]+.*, from 512 rows .*|decodes in float32)",
        said["cpu"],
    )
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert said["accelerators"] == "none"
    own = tracing.TraceDict is tracedict.TraceDict
    assert said["tracer"].startswith("bauklens' own TraceDict" if own else "baukit's TraceDict")
    assert said["cache"] == f"{tmp_path / 'none'} (not created yet)"
    assert said["hub cache"] == f"{tmp_path} (no models)"
    assert said["demo model"].startswith("installed; the first load converts it")


def test_doctor_tells_what_is_there(doctor, tmp_path):
    for name in "abcdefgh":
        folder = tmp_path / f"models--{name}--tiny" / "snapshots" / "1"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (tmp_path / "cache").mkdir()
    with (tmp_path / "cache" / "large").open("wb") as file:
        file.truncate(3 << 30)
    said = doctor(
        {"baukit": "class TraceDict: pass"}, HF_HUB_CACHE=str(tmp_path), BAUKLENS_CACHE=str(tmp_path / "cache")
    )
    assert said["tracer"] == "baukit's TraceDict"
    assert said["cache"] == f"{tmp_path / 'cache'} (3.0 GB)"
    assert said["hub cache"] == f"{tmp_path} (a/tiny, b/tiny, c/tiny, d/tiny, e/tiny, f/tiny and 2 more)"


def test_doctor_says_why_baukit_is_not_used(doctor):
    said = doctor({"baukit": "raise RuntimeError('operator torchvision::nms does not exist')"})
    assert said["tracer"].endswith(
        "because importing baukit fails (RuntimeError: operator torchvision::nms does not exist)"
    )


def test_doctor_finds_the_demo_model(command):
    bauklens.load("demo")
    assert f"dequantized from a 4-bit GGUF file, ready in {caches.demo_folder()}" in command("doctor").stdout


def test_doctor_goes_on_where_something_is_broken(doctor, tmp_path):
    broken = "raise OSError('libbroken.so: no such file')"
    said = doctor({"pandas": broken, "torch": broken}, BAUKLENS_CACHE="a" * 5000)
    for name in ("pandas", "torch"):
        assert said[name].endswith("but importing it fails: OSError: libbroken.so: no such file")
    assert said["cpu"].startswith("unknown: OSError: libbroken.so")
    assert said["cache"].startswith("unknown: OSError: ")
    assert said["hub cache"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(command, shell):
    ran = command("completion", shell)
    assert ran.returncode == 0, ran.stderr
    assert "_BAUKLENS_COMPLETE" in ran.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("bauklens com", "compare"), ("bauklens lens --nor", "--norm"), ("bauklens lens --model de", "demo")],
)
def test_a_shell_completes_commands_options_and_models(command, words, expected):
    asked = {"_BAUKLENS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ran = command("", model=None, environment=asked)
    assert expected in [line.partition(",")[2] for line in ran.stdout.splitlines()]


def test_bash_takes_the_script(tmp_path, command):
    script = command("completion", "bash").stdout
    program = Path(sys.executable).parent
    asking = (
        f'PATH="{program}:$PATH"\n{script}\nCOMP_WORDS=(bauklens ins) COMP_CWORD=1\n_bauklens_completion bauklens\n'
    )
    ran = subprocess.run(["bash", "-c", asking + 'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "inspect"


def test_every_help_has_an_example(command):
    for name in [*main.commands, ""]:
        ran = command(*filter(None, [name, "--help"]), model=None)
        assert ran.returncode == 0, ran.stderr
        assert f"bauklens {name}".strip() in ran.stdout.partition("Usage:")[2].partition("\n")[2], name
    ran = subprocess.run(STARTED, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert 'bauklens lens "The Eiffel Tower' in ran.stderr


def test_inspect_a_model_without_a_tokenizer(command, tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "bare")
    ran = command("inspect", model=tmp_path / "bare")
    assert ran.returncode == 0, ran.stderr
    assert "llama (LlamaForCausalLM)" in ran.stdout
    assert "has no tokenizer that can be loaded" in ran.stderr


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            (["lens", ""], ["the prompt is empty"]),
            (["lens", "the " * 200], ["tokens, but the model's context is 64"]),
            (["lens", "the", "--topk", "0"], ["--topk", "x>=1"]),
            (["lens", "the", "--topk", "321"], ["topk is 321"]),
            (["lens", "the", "--topk", "many"], ["--topk", "bauklens lens --help"]),
            (["lens", "the", "--stream", "attn"], ["--stream", "'hidden', 'delta', 'attention', 'mlp', 'mid'"]),
            (["lens", "the", "--position", "1"], ["unknown position 1", "1 token"]),
            (["lens", "the", "--look", "loud"], ["--look"]),
            (["lens", "the", "--dtype", "int8"], ["unknown dtype 'int8'"]),
            (["lens", "the", "--device", "quantum"], ["device 'quantum' is not available"]),
            (
                ["lens", "the", "-o", "x.png"],
                ["-o writes a page of HTML: call it x.html, not 'x.png'", "lens.figure()"],
            ),
            (["report", "prompts.txt", "-o", "x.csv"], ["call it x.html, not 'x.csv'"]),
            (["lens", "the", "-o", "."], ["cannot write .", "it is a folder"]),
            (["lens", "the", "-o", "none/lens.html"], ["the folder none does not exist"]),
            (["lens", "the", "--json", "none/lens.json"], ["the folder none does not exist"]),
            (["report", "none.txt", "-o", "r.html"], ["cannot read none.txt"]),
            (["report", "bad.jsonl", "-o", "r.html"], ["bad.jsonl, line 2: it is not JSON"]),
            (["report", "odd.jsonl", "-o", "r.html"], ["odd.jsonl, line 1", '"prompt"']),
            (["report", "empty.txt", "-o", "r.html"], ["empty.txt contains no prompts"]),
            (["report", "long.txt", "-o", "r.html"], ["long.txt, line 2", "context is 64"]),
            (["report", "long.txt"], ["'-o'"]),
            (["nonsense"], ["No such command 'nonsense'"]),
        ],
    )
    def test_one_line_and_nothing_written(self, command, tmp_path, arguments, parts):
        files = {
            "bad.jsonl": '{"prompt": "the"}\n{"prompt": \n',
            "odd.jsonl": '{"text": "the"}\n',
            "empty.txt": "\n\n",
            "long.txt": "the\n" + "the " * 200,
        }
        for name, content in files.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        assert_one_line(command(*arguments), *parts)
        assert sorted(each.name for each in tmp_path.iterdir()) == sorted(files)

    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            (["lens", "--messages", "deep.json"], ["cannot read deep.json", "nested more than 100 deep"]),
            (["lens", "--messages", "digits.json"], ["cannot read digits.json", "too many digits"]),
            (["lens", "--messages", "pipe"], ["cannot read pipe", "pass - to read standard input"]),
            (["lens", "--messages", "/dev/zero"], ["cannot read /dev/zero", "it is not a regular file"]),
            (["lens", "--messages", "loop"], ["cannot read loop", "symbolic links"]),
            (["lens", "--messages", "half.json"], ["half a surrogate pair"]),
            (["report", "pipe", "-o", "r.html"], ["cannot read pipe", "pass - to read standard input"]),
            (["report", "deep.jsonl", "-o", "r.html"], ["deep.jsonl, line 1", "nested more than 100 deep"]),
            (["report", "large.txt", "-o", "r.html"], ["cannot read large.txt", "it is larger than 1 GB"]),
            (["summarize", "."], ["cannot read .", "it is a folder"]),
            (["summarize", "/dev/full"], ["cannot read /dev/full", "it is not a regular file"]),
            (["compare", "/dev/zero", "x"], ["/dev/zero is a file: did you mean bauklens report"]),
            (["compare", "page.html", "the"], ["page.html is a file: open it in a browser"]),
            (["compare", "the", "page.html"], ["page.html is a file: open it"]),
            (["report", "page.html", "-o", "r.html"], ["page.html is a page, not a file of prompts"]),
            (["lens", "large.txt"], ["large.txt is a file: did you mean bauklens report large.txt -o report.html?"]),
            (["lens", "half.json"], ["half.json is a file: did you mean bauklens lens --messages half.json"]),
            (["lens", "the", "-o", "loop"], ["cannot write loop", "symbolic links"]),
            (["report", "prompts.txt", "-o", "pipe"], ["cannot write pipe"]),
            (["lens", "the", "--device", "xpu"], ["device 'xpu' is not available here"]),
            (["lens", "the", "--target", os.fsdecode(b"\xfe")], ["is not valid Unicode"]),
        ],
    )
    def test_files_of_anyone(self, command, tmp_path, tmp_path_factory, arguments, parts):
        (tmp_path / "deep.json").write_text('{"a":' * 70_000)
        (tmp_path / "deep.jsonl").write_text('{"prompt":' + "[" * 70_000)
        (tmp_path / "digits.json").write_text("[" + "4" * 5_500 + "]")
        (tmp_path / "half.json").write_text(r'[{"role": "user", "content": "a\udead"}]')
        (tmp_path / "page.html").write_text("<table>")
        (tmp_path / "prompts.txt").write_text("the")
        (tmp_path / "loop").symlink_to("loop")
        os.mkfifo(tmp_path / "pipe")
        with (tmp_path / "large.txt").open("w") as file:
            file.truncate(5 * 10**9)
        before = sorted(tmp_path.iterdir())
        model = tiny_chat(tmp_path_factory.mktemp("chat"))
        assert_one_line(command(*arguments, model=model), *parts)
        assert sorted(tmp_path.iterdir()) == before

    def test_what_libraries_print_is_left_out_of_an_error(self, command, tmp_path):
        """Of a panic in Rust, several lines; of weights that do not fit, a table."""
        folder = tiny_chat(tmp_path / "panics")
        written = json.loads((folder / "tokenizer.json").read_text())
        written["pre_tokenizer"] = {
            "type": "Split",
            "pattern": {"Regex": "(z+z+)+y"},
            "behavior": "Isolated",
            "invert": False,
        }
        (folder / "tokenizer.json").write_text(json.dumps(written))
        ran = command("lens", "z" * 60, model=folder)
        assert ran.stderr.startswith("Error: the tokenizer fails on the prompt: PanicException")
        assert_one_line(ran)
        configuration = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(configuration | {"n_positions": 32}))
        ran = command("lens", "the", model=folder)
        assert_one_line(ran, "the weights and the configuration of", "disagree")
        assert ran.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("model", "part"),
        [
            ("no-such-model", "pass a hub id, a local folder, a .gguf file, or 'demo'"),
            ("some/model", "pass a hub id"),
            ("./none", "the folder ./none does not exist"),
            ("none.gguf", "the file none.gguf does not exist"),
            (".", "looked for config.json"),
        ],
    )
    def test_unknown_models(self, command, tmp_path, model, part):
        assert_one_line(command("lens", "the", "-o", "lens.html", model=model), part)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("seconds", [0.7, 2.5, 5, 12])
    def test_ctrl_c(self, folder, tmp_path, seconds):
        """Interrupted while it imports, loads or works, it says so in a word and leaves no file behind."""
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("the city of the sea is in the tower\n" * 20_000, encoding="utf-8")
        process = subprocess.Popen(
            [*STARTED, "report", "prompts.txt", "--model", str(folder), "-o", "report.html"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also if the tests run in the background
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT), stderr  # both are 130 to a shell
        assert "Traceback" not in stderr
        assert stderr.splitlines()[-1] == "interrupted"
        assert stdout == ""
        assert list(tmp_path.iterdir()) == [prompts]

    def test_control_characters_are_not_sent_to_the_terminal(self, command):
        ran = command("lens", "the", model="./m\x1b]0;owned\x07")
        assert_one_line(ran, "⟨U+001B⟩]0;owned⟨U+0007⟩")

    def test_code_that_comes_with_a_model_does_not_run_unasked(self, command, tmp_path):
        (tmp_path / "remote").mkdir()
        (tmp_path / "remote" / "evil.py").write_text("open('ran', 'w')\nclass Config: pass\n")
        (tmp_path / "remote" / "config.json").write_text(
            json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}})
        )
        ran = command("lens", "the", model="./remote", stdin="y\ny\n")
        assert_one_line(ran, "pass --trust-remote-code if you trust it")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_pipe_of_another_encoding(command, encoding):
    ran = command("lens", "the city", environment={"PYTHONIOENCODING": encoding})
    assert ran.returncode == 0, ran.stderr
    assert "\\u2423city" in ran.stdout


def test_a_pipe_that_is_closed(folder):
    line = f"{sys.executable} -m bauklens lens 'the city' --json - --model {folder} | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr
    assert "Exception" not in ran.stderr


def test_an_over_long_prompt_is_one_line_where_the_tokenizer_has_a_limit(command, folder, tmp_path):
    tiny_model("gpt2").save_pretrained(tmp_path / "limited")
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(tmp_path / "limited")
    assert_one_line(command("lens", "the " * 200, model=tmp_path / "limited"), "the model's context is 64")


def test_prompts_end_at_line_ends_only(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a\xe2\x80\xa8b"}\r\n')
    (tmp_path / "a.txt").write_text("a\x85b\nc", encoding="utf-8")
    assert read_prompts(tmp_path / "a.jsonl") == [(1, "a\u2028b", "a\u2028b")]
    assert [prompt for _, _, prompt in read_prompts(tmp_path / "a.txt")] == ["a\x85b", "c"]


def test_targets_and_measures(command, tmp_path):
    done = command(
        "lens",
        "the city",
        "--target",
        " the",
        "--target",
        "xyz",
        "--words",
        "first",
        "--measure",
        "kl",
        "--json",
        "a.json",
    )
    assert done.returncode == 0, done.stderr
    assert "rank" in done.stdout
    lens = LensResult.load(tmp_path / "a.json")
    assert [target.text for target in lens.targets] == [" the", "xyz"]
    assert set(lens.measures) == {"kl", "magnitude", "max_probability"}


def test_sets_of_targets(command, tmp_path):
    sets = ["--target-set", "en=270, 271,the", "--target-set", 'fr=[" the", 5, "270"]']
    done = command("lens", "the city", "--target", " the", *sets, "--words", "first", "--json", "a.json")
    assert done.returncode == 0, done.stderr
    lens = LensResult.load(tmp_path / "a.json")
    ids = [tiny_tokenizer()(text)["input_ids"] for text in ("the", " the", "270")]
    assert [target.text for target in lens.targets] == [" the", "en", "fr"]
    assert lens.target("en").token_ids == (270, 271, ids[0][0])
    assert lens.target("fr").token_ids == (ids[1][0], 5, ids[2][0])
    page = command("lens", "the city", *sets[:2], "--words", "first", "-o", "page.html")
    assert page.returncode == 0, page.stderr


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("en", "--target-set is 'en': pass NAME=TOKEN,TOKEN"),
        ("=5", "--target-set is '=5'"),
        ("en=", "the set 'en' is empty"),
        ("en=[5", "--target-set en: it is not JSON"),
        ('en=[5, {"a": 1}]', "a target must be a text or a token id"),
        ("en=99999", "in the set 'en', 99999 is not a token id"),
    ],
)
def test_a_set_that_is_none_is_one_line(command, given, part):
    assert_one_line(command("lens", "the city", "--target-set", given), part)


def test_csv_goes_to_a_file_or_to_standard_output(command, tmp_path):
    done = command("lens", "the city", "--csv", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("layer,position,token,")
    command("lens", "the city", "--csv", "lens.csv")
    assert (tmp_path / "lens.csv").read_text() == done.stdout
    both = command("lens", "the city", "--csv", "-", "--json", "-")
    assert both.returncode == 2
    assert "cannot both go to standard output" in both.stderr


def tiny_chat(folder, template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"):
    """A tiny GPT-2 whose tokenizer has a chat template, in a folder."""
    tiny_model("gpt2").save_pretrained(folder / "tiny-chat")
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder / "tiny-chat")
    return folder / "tiny-chat"


def test_standard_input_is_read_for_a_file(command, tmp_path):
    ran = command("report", "-", "-o", "report.html", stdin="the city\n\nthe sea\n")
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1><bdi>prompts</bdi></h1>" in page
    assert page.count('<table class="lens') == 2
    ran = command("summarize", "-", stdin="the city\nthe sea\n")
    assert "means over 2 prompts" in ran.stdout, ran.stderr


def test_a_warning_is_printed_if_all_is_well(command, tmp_path):
    """What is held back until it is known whether the command fails is not lost."""
    folder = tiny_chat(tmp_path)
    configuration = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(configuration | {"attn_implementation": "some/kernel"}))
    ran = command("lens", "the", model=folder)
    assert ran.returncode == 0
    assert "names the attention kernel some/kernel" in ran.stderr


def test_messages(command, tmp_path, tmp_path_factory):
    folder = tiny_chat(tmp_path_factory.mktemp("chat"))
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "the city"}]')
    done = command("lens", "--messages", "chat.json", "--json", "-", model=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompt"] == "user: the city\n"
    assert "pass one of them" in command("lens", "x", "--messages", "chat.json", model=folder).stderr
    ran = command("lens", "x", "--template", "enable_thinking=false", model=folder)
    assert ran.stderr == "Error: --template is for a chat: pass one with --messages\n"
    (tmp_path / "chat.json").write_text("[{")
    assert "it is not JSON" in command("lens", "--messages", "chat.json", model=folder).stderr
    assert "cannot read none.json" in command("lens", "--messages", "none.json", model=folder).stderr


def test_switches_of_a_chat_template(command, tmp_path, tmp_path_factory):
    folder = tiny_chat(
        tmp_path_factory.mktemp("chat"), "{{ messages[0].content }} {{ thinking }} {{ name }} {{ tools }}"
    )
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "the city"}]')
    switches = ["--template", "thinking=false", "--template", "name=a=b c", "--template", 'tools=[{"a": 1}]']
    done = command("lens", "--messages", "chat.json", *switches, "--json", "-", model=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["prompt"] == "the city False a=b c [{'a': 1}]"
    assert told["provenance"]["arguments"]["template"] == {"thinking": False, "name": "a=b c", "tools": [{"a": 1}]}
    for switch, message in {
        "thinking": "takes NAME=VALUE",
        "=1": "takes NAME=VALUE",
        "tools=[{": "it is not JSON",
    }.items():
        ran = command("lens", "--messages", "chat.json", "--template", switch, model=folder)
        assert_one_line(ran, message)


@pytest.mark.parametrize(
    ("switch", "value"),
    [("a=True", True), ("a=null", None), ("a=1", 1), ("a=", ""), ("a=text", "text"), ('a="1"', "1"), ("a=None", None)],
)
def test_a_switch_is_json_or_text(switch, value):
    assert template_of((switch,)) == {"a": value}
    assert template_of(()) is None


def test_summarize(command, tmp_path):
    (tmp_path / "prompts.txt").write_text("the city\nin the tower\n\nthe sea is\n")
    done = command("summarize", "prompts.txt", "-o", "summary.html", "--csv", "summary.csv")
    assert done.returncode == 0, done.stderr
    assert "means over 3 prompts" in done.stdout
    assert "wrote summary.html" in done.stderr
    head = "measure,layer,mean,spread,count,q05,q50,q95,unit,decoder\naccuracy,embed,"
    assert (tmp_path / "summary.csv").read_text().startswith(head)
    assert "<table" in (tmp_path / "summary.html").read_text()


def test_quiet_says_nothing_but_errors(tmp_path, folder):
    run = ["-m", "bauklens", "-q", "lens", "--model", folder, "the"]
    done = python(*run, "-o", "x.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    failed = python(*run, "--position", "99", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("Error: ")


def test_a_prompt_that_ends_like_a_file_and_is_longer_than_any_files_name_is_a_prompt(command):
    ran = command("compare", " tower" * 45 + ".json", "the tower.json")
    assert ran.returncode == 0, ran.stderr
    assert "agreement" in ran.stdout


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("leave images= out, or pass text_target=", "leave --image out, or pass --text-target"),
        ("pass norm='own'", "pass --norm own"),
        ("norm=None needs", "--norm none needs"),
        ("pass dtype='float16', or device_map='auto'", "pass --dtype float16, or --device-map auto"),
        ('pass blocks="path"', "pass --blocks path"),
        ("pass targets=[...]", "pass --target"),
        ("3 tokens and max_new_tokens is 90", "3 tokens and --max-new-tokens is 90"),
        ('pass template={"continue_final_message": False}', "pass --template continue_final_message=false"),
        ("pass trust_remote_code=True (--trust-remote-code)", "pass --trust-remote-code"),
        ("words='first', or positions=-1", "--words first, or positions=-1 (in Python)"),
        ("logits=lambda output: output[0]", "logits=lambda output: output[0]"),
        ("it in logit_lens(..., targets=[...])", "it in logit_lens(..., targets=[...])"),
        ("cannot read topk=3.json or ./norm=own", "cannot read topk=3.json or ./norm=own"),
        ("the target 'text_target' or \"norm='own'\"", "the target 'text_target' or \"norm='own'\""),
        ("images need a processor", "images need a processor"),
        ("set model.config.is_encoder_decoder = True", "set model.config.is_encoder_decoder = True"),
    ],
)
def test_options_of_python_are_named_as_those_of_the_command(message, told):
    assert as_options(message, main.commands["lens"].params) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "some/file"), "some/file: Permission denied"),
        (OSError("the server went away"), "the server went away"),
    ],
)
def test_an_error_of_the_system_is_told_as_what_it_is(capsys, error, told):
    @click.group(cls=OneLineErrors)
    def group():
        pass

    @group.command()
    def fail():
        raise error

    with pytest.raises(SystemExit, match="2"):
        group.main(["fail"])
    assert capsys.readouterr().err == f"Error: {told}\n"


def test_compare(command, tmp_path, folder):
    done = command("compare", "the city of", "the tower of", "-o", "both.html", "--csv", "both.csv")
    assert done.returncode == 0, done.stderr
    assert "agreement" in done.stdout
    assert "Jensen-Shannon distance" in (tmp_path / "both.html").read_text()
    assert (tmp_path / "both.csv").read_text().startswith("layer,position one,")
    for name in ("one", "other"):
        command("lens", f"the {name} city", "--json", f"{name}.json")
    saved = command("compare", "one.json", "other.json", model=None)
    assert saved.returncode == 0, saved.stderr
    models = command("compare", "the city", "--other-model", str(folder))
    assert models.returncode == 0, models.stderr
    assert "kl" in models.stdout
    neither = command("compare", "the city")
    assert neither.returncode == 2
    assert "pass either OTHER" in neither.stderr


def test_on_a_terminal_what_is_printed_on_standard_error_is_seen_while_the_command_runs():
    """Progress bars among it, which are drawn only if standard error is a terminal."""
    program = (
        "import sys\n"
        "from bauklens.cli.held_back import standard_error_held_back\n"
        "with standard_error_held_back():\n"
        "    print('a terminal' if sys.stderr.isatty() else 'no terminal', file=sys.stderr, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    ours, theirs = os.openpty()
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=theirs) as process:
        seen = os.read(ours, 100) if select.select([ours], [], [], 60)[0] else b"nothing"
        process.stdin.close()
    os.close(ours)
    os.close(theirs)
    assert seen.strip() == b"a terminal"


@pytest.fixture
def watched(tmp_path, folder):
    """Runs ``bauklens lens`` with these files as its standard output and error -> its status, when it is known."""
    with ThreadPoolExecutor() as others, open(os.devnull, "r+b") as file:
        nothing = file.fileno()

        def run(*words, output=nothing, errors=nothing):
            words = ["-m", "bauklens", "lens", "the city", "--model", str(folder), *words]
            return others.submit(status_of, {"words": words, "folder": str(tmp_path)}, (nothing, output, errors))

        yield run


def read_until(file, text):
    """What comes from a file, as long as something comes, to this text."""
    seen = b""
    while text not in seen and select.select([file], [], [], 60)[0]:
        seen += os.read(file, 1 << 16)
    return seen


def test_on_a_terminal_the_first_line_says_what_is_loaded(watched, folder):
    ours, theirs = os.openpty()
    status = watched(errors=theirs)
    assert read_until(ours, b"\n").decode().splitlines()[0] == f"loading {folder}"
    assert status.result() == 0
    for each in (ours, theirs):
        os.close(each)


def test_a_table_is_printed_before_the_page_is_written(watched, tmp_path):
    """The page is a pipe that is read only once the table is there, and cannot hold a page before that."""
    os.mkfifo(tmp_path / "page.html")
    page = os.open(tmp_path / "page.html", os.O_RDONLY | os.O_NONBLOCK)
    ours, theirs = os.pipe()
    status = watched("-o", "page.html", output=theirs)
    table = read_until(ours, b"Check:")
    written = read_until(page, b"</html>")
    assert (status.result(), b"top 1" in table, b"<table" in written) == (0, True, True)
    for each in (page, ours, theirs):
        os.close(each)


def test_a_file_that_cannot_be_written_after_all_is_one_line_below_the_table(command, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    ran = command("lens", "the city", "--json", "pipe")
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == ["Error: cannot write pipe: No such device or address"]
    assert "top 1" in ran.stdout


def test_files_are_written_though_no_one_reads_the_table(watched, tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    assert watched("-o", "page.html", "--csv", "table.csv", output=theirs).result() == 1
    os.close(theirs)
    assert (tmp_path / "page.html").exists()
    assert (tmp_path / "table.csv").exists()


def test_values_are_not_coloured_like_their_names(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_values([("model", "tiny")], 8)
    assert capsys.readouterr().out == "\x1b[36mmodel   \x1b[0mtiny\n"
