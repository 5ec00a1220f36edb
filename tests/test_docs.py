"""Every block of code in README.md and docs/ runs, and prints what stands under it."""

import ast
import contextlib
import dataclasses
import fnmatch
import io
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

import bauklens
from bauklens.cli.commands import main
from bauklens.vocabulary import STREAMS
from scripts.decoder_tables import ENDS, PARTS, begins, regions
from tests.sweeps import prompts_of, write_prompts
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow  # everything that the pages show is run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorials"]  # whose steps build on each other
LONG = [*TUTORIALS, *(ROOT / "docs" / "guide" / name for name in ("command.md", "prompts.md", "testing.md"))]


def each(pages):
    """Parameters for a test of every page."""
    long = [pytest.mark.long]
    return [pytest.param(page, id=str(page.relative_to(ROOT)), marks=long if page in LONG else []) for page in pages]


BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

CORPORA = ROOT / "docs" / "guide" / "corpora.md"

OTHERS = {"corpora.md": ("bash", "yaml"), "coming-from.md": ("py",)}
"""Languages of some pages; ``py`` is the Python of other tools, which scripts/benchmark_peers.py runs."""

NOT_RUN_HERE = (
    "source .venv/bin/activate",
    "pip install ",  # tests/test_release.py installs for real
    "scripts/",  # what CI runs, or tests/test_scripts.py and tests/test_site.py
    ".venv/bin/python ",
    "torchrun ",  # tests/test_sweep_faults.py, tests/test_parallel.py
    "eval ",  # tests/test_cli.py has bash take the completion
    "bauklens serve ",  # tests/test_live_command.py
)


def blocks(page):
    """(language, code) of every block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def hub(request):
    """In the hub's cache, tiny models stand for the large ones of those names."""
    if request.config.getoption("--hub"):
        pytest.skip("the pages load GPT-2-XL and GPT-J, which --hub would fetch: run these tests without it")
    cache = Path(os.environ["HF_HUB_CACHE"])
    standing = {"gpt2-xl": "gpt2", "EleutherAI/gpt-j-6B": "gptj"}
    places = [cache / f"models--{name.replace('/', '--')}" for name in standing]
    for place, kind in zip(places, standing.values(), strict=True):
        saved_model(kind, place / "snapshots" / "0123456789")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("0123456789")
    yield
    for place in places:
        shutil.rmtree(place)


def saved_model(kind, folder):
    tiny_model(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def pages(count, seed):
    """So many pages of random words."""
    draw, words = random.Random(seed), ["the", "tower", "is", "in", "a", "city", "by", "sea", "and", "needle", "of"]
    return "\n\n".join(" ".join(draw.choices(words, k=100)) for _ in range(count))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder with what the pages speak of: a model of the reader's own, a file of prompts, and one to evaluate."""
    saved_model("gpt2", tmp_path / "my-model")
    (tmp_path / "prompts.txt").write_text("The tower is in\nThe needle is in\n")
    write_prompts(tmp_path / "prompts.jsonl", prompts_of(6))
    items = [
        {"prompt": "The capital of the country shaped like a boot is ", "target": "Rome", "intermediates": ["Italy"]}
    ]
    (tmp_path / "items.json").write_text(json.dumps({"items": items}))
    (tmp_path / "book.txt").write_text("The tower is in the city, and the needle is by the sea.\n" * 6)
    for number, (name, count) in enumerate({"corpus": 90, "part-1": 30, "part-2": 30, "held-out": 8}.items()):
        (tmp_path / f"{name}.txt").write_text(pages(count, number))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


def shell_lines(code):
    """The words of each line that runs here."""
    lines = [line for line in code.splitlines() if not line.startswith(NOT_RUN_HERE)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_command(words):
    """Runs a line of bauklens in this process."""
    assert words[0] == "bauklens", f"nothing here runs {words}"
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    return ended.value.code


def is_shown(printed, code):
    """Whether a block of text is what was printed, but for spaces at the ends of lines; * stands for what varies."""
    printed, shown = ("\n".join(map(str.rstrip, text.strip().splitlines())) for text in (printed, code))
    return fnmatch.fnmatchcase(printed, shown.replace("[", "[[]"))


@pytest.mark.parametrize("page", each(PAGES))
def test_python_runs_and_prints_what_is_shown(page, reader):
    """In tutorials, the lines of shell run in between, and what they print is shown as well."""
    names, printed = {}, None
    for number, (language, code) in enumerate(blocks(page), 1):
        if language == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(code, f"{page.name}, block {number}", "exec"), names)
            printed = said.getvalue()
        elif language == "sh" and page in TUTORIALS and (lines := shell_lines(code)):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                ended = [run_command(words) for words in lines]
            printed = said.getvalue()
            assert not any(ended), f"block {number} printed:\n{printed}"
        elif language == "sh":
            printed = None  # what a command prints is compared where it runs
        elif language == "text" and printed is not None:  # before any code, it is a drawing
            assert is_shown(printed, code), f"block {number} printed:\n{printed}"


@pytest.mark.parametrize("page", each(page for page in PAGES if page not in TUTORIALS))
def test_lines_of_shell_run(page, reader, capfd):
    for language, code in blocks(page):
        for words in shell_lines(code) if language == "sh" else []:
            assert run_command(words) == 0, f"{words}\n{capfd.readouterr().err}"
            named = [words[place + 1] for place, word in enumerate(words[:-1]) if word in {"-o", "--json", "--csv"}]
            assert {reader / name for name in named} <= set(reader.iterdir()), words
            capfd.readouterr()


def test_what_a_comment_says_of_a_value_is_so(reader):
    """A line such as ``lens.first_layer(" Paris")  # '27'``."""
    names, said = {}, 0
    for language, code in blocks(ROOT / "README.md"):
        if language == "python":
            exec(compile(code, "README.md", "exec"), names)
            for expression, value in re.findall(r"^(\w.*)  # ('.*')$", code, re.MULTILINE):
                assert eval(expression, names) == ast.literal_eval(value), expression
                said += 1
    assert said


def table(page, heading):
    """The first cells of the first table under a heading, without their backquotes."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    rows = re.search(r"(^\|.*\n)+", text, re.MULTILINE)[0].splitlines()[2:]
    return [[re.findall("`([^`]+)`", cell) or cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def test_the_table_of_measures_is_that_of_the_code():
    rows = table("guide/following.md", "Measures")
    assert sorted(name for names, *_ in rows for name in names) == sorted(bauklens.MEASURES)
    for names, units, _ in rows:
        known = [bauklens.MEASURES[name].unit or "from 1" * name.startswith("rank") for name in names]
        assert ", ".join(dict.fromkeys(known)) == units


def test_the_table_of_streams_is_that_of_the_code():
    assert [name.strip('"') for names, *_ in table("guide/streams.md", "What a row is") for name in names] == list(
        STREAMS
    )


def test_the_table_of_keys_is_that_of_a_file(eiffel):
    assert sorted(key for keys, _ in table("guide/formats.md", "Result files") for key in keys) == sorted(
        eiffel.to_dict()
    )


def test_the_table_of_keys_is_that_of_effects():
    keys = [each.name for each in dataclasses.fields(bauklens.Effects)]
    shown = [key for keys, _ in table("guide/formats.md", "Effects") for key in keys]
    assert sorted(shown) == sorted(["format", "version", *keys])


def test_the_table_of_keys_is_that_of_a_patchscope():
    keys = [each.name for each in dataclasses.fields(bauklens.Patchscope)]
    shown = [key for keys, _ in table("guide/formats.md", "Patchscopes") for key in keys]
    assert sorted(shown) == sorted(["format", "version", *keys])


def test_the_table_of_keys_is_that_of_a_summary():
    keys = [each.name for each in dataclasses.fields(bauklens.Summary)]
    shown = [key for keys, _ in table("guide/formats.md", "Summaries") for key in keys]
    assert sorted(shown) == sorted(["format", "version", *keys])


def test_the_figures_are_those_that_were_measured():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    runs = json.loads((ROOT / "docs" / "performance.json").read_text(encoding="utf-8"))
    columns = ("forward pass", "floor", "bauklens, top-k only", "exact, top-k only", "notebook")
    for run in runs:
        if run["model"] == "demo" and run["tokens"] <= 512:
            named = {column: next(name for name in run["seconds"] if name.startswith(column)) for column in columns}
            times = [f"{run['seconds'][name]:.2f} s" for name in named.values()]
            memory = [f"{run['peak_bytes'][named[each]] / 1e6:,.0f} MB" for each in columns[2:]]
            times[2] = f"**{times[2]}**"
            assert f"| {run['tokens']} | {' | '.join(times)} | {', '.join(memory)} |" in page


def test_the_tables_of_lenses_are_what_was_measured():
    figures = json.loads((ROOT / "docs" / "decoders.json").read_text(encoding="utf-8"))
    written = regions(figures)
    for page, names in (("DECODERS.md", PARTS), ("guide/decoders.md", ["overview"])):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for name in names:
            assert f"{begins(name)}\n\n{written[name]}\n{ENDS}" in text, f"{page}: {name}"


def test_every_link_leads_to_a_file():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https:") or (page.parent / link).exists(), f"{page.name} leads to {link}"


def test_every_public_name_is_in_the_api():
    shown = re.findall(
        r"^::: bauklens\.(?:\w+\.)?(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(bauklens.__all__) - {"edits"} <= set(shown)  # a module, whose names are shown


def test_every_block_says_its_language():
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert fences.count("") == len(fences) / 2, page
        assert {*fences} <= {"", "python", "sh", "text", *OTHERS.get(page.name, ())}, page


SRUN = """#!/bin/sh
for rank in 0 1 2; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_STEP_NUM_TASKS=3 "$@" &
done
wait
"""


@pytest.mark.long
def test_the_script_for_slurm_with_the_variables_that_srun_sets(reader):
    """Three tasks, which share five shards of the prompts; of the two models that the page names, one is tiny here."""
    (script,) = [code for language, code in blocks(CORPORA) if language == "bash" and "#SBATCH" in code]
    (reader / "bin").mkdir()
    (reader / "bin" / "srun").write_text(SRUN)
    (reader / "bin" / "srun").chmod(0o755)
    pandas.DataFrame(prompts_of(9)).to_parquet(reader / "prompts.parquet")
    path = os.pathsep.join([str(reader / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    places = {"HOME": str(reader), "SCRATCH": str(reader), "PATH": path, "PYTHONPATH": str(ROOT)}
    script = script.replace("--dtype float16", "--per 2")  # which no CPU is fast with
    ran = subprocess.run(["bash", "-c", script], env=os.environ | places, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = bauklens.open_sweep(reader / "out")
    assert found.is_complete
    assert sorted((run["worker"], run["workers"], run["prompts"]) for run in found.runs) == [
        (0, 3, 4),
        (1, 3, 3),
        (2, 3, 2),
    ]


def test_the_job_for_kubernetes_and_the_cluster_of_ray_are_yaml_and_run_commands_that_there_are():
    import yaml

    job, cluster = [yaml.safe_load(code) for language, code in blocks(CORPORA) if language == "yaml"]
    assert (job["kind"], job["spec"]["completionMode"]) == ("Job", "Indexed")
    assert cluster["head_node_type"] in cluster["available_node_types"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (up,) = [code for language, code in blocks(CORPORA) if language == "bash" and "ray exec" in code]
    asked = shlex.split(shlex.split(up.splitlines()[1])[-1])
    for words in (container["command"], asked):
        assert words[:2] == ["bauklens", "sweep"]
        context = main.commands["sweep"].make_context("sweep", list(words[2:]))
        assert context.params["output"] == Path("/data/out")
    assert context.params["ray"] == "auto"
    assert job["spec"]["completions"] == int(container["command"][container["command"].index("--workers") + 1])


def test_every_file_that_is_named_is_there():
    for page in PAGES:
        for name in re.findall(
            r"`((?:bauklens|scripts|tests|docs|notebooks)/[\w./-]+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
