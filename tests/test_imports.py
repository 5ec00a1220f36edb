"""What is imported when; that data flows one way is import-linter's to say (setup.cfg, scripts/test)."""

import ast
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bauklens
from bauklens.lens import logit_lens
from bauklens.result import LensResult
from tests.made import made
from tests.tiny import tiny_model, tiny_tokenizer

OTHERS_NAMES = {"_fields", "_forward_hooks", "_forward_pre_hooks", "_name_or_path", "_python_dispatch"}
"""Underscored names of Python's, torch's and transformers' own, which tests look at."""


def modules_loaded(*arguments):
    """The names of all modules that a fresh Python has imported by its end."""
    ran = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}


@pytest.mark.parametrize("arguments", [["-c", "import bauklens; dir(bauklens)"], ["-m", "bauklens", "--help"]])
def test_the_package_and_its_help_load_neither_torch_nor_transformers(arguments):
    loaded = {name.partition(".")[0] for name in modules_loaded(*arguments)}
    assert "bauklens" in loaded
    assert not loaded & {"torch", "transformers", "numpy"}


def test_what_reads_a_result_loads_no_torch():
    shown = ("page", "terminal", "averages_terminal", "figures")
    modules = ", ".join(["bauklens.result.logitlenskit", *(f"bauklens.show.{each}" for each in shown)])
    loaded = modules_loaded("-c", f"import {modules}")
    assert "bauklens.show.rankings" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "transformers"}


def test_what_needs_no_model_loads_no_torch(tmp_path):
    """A saved lens as HTML, two of them compared, completion."""
    made().save(tmp_path / "lens.json")
    saved = f'import bauklens; bauklens.LensResult.load("{tmp_path}/lens.json").to_html("{tmp_path}/lens.html")'
    lens = str(tmp_path / "lens.json")
    compared = ["-m", "bauklens", "compare", lens, lens, "-o", str(tmp_path / "both.html")]
    for arguments in (["-c", saved], compared, ["-m", "bauklens", "completion", "bash"]):
        loaded = {name.partition(".")[0] for name in modules_loaded(*arguments)}
        assert "bauklens" in loaded
        assert not loaded & {"torch", "transformers", "pandas", "matplotlib"}


def test_large_modules_are_imported_without_a_search_for_garbage(tmp_path):
    """Which goes on afterwards, without them, also after a module that cannot be imported; and is left alone if off."""
    (tmp_path / "large.py").write_text("import gc\nsearched = gc.isenabled()\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("raise OSError\n", encoding="utf-8")
    program = (
        "import contextlib, gc\n"
        "from bauklens.cli.importing import imported\n"
        "assert gc.get_freeze_count() == 0\n"
        "assert not imported('large').searched\n"
        "assert gc.isenabled() and gc.get_freeze_count()\n"
        "gc.unfreeze()\n"
        "imported('large')\n"
        "assert gc.get_freeze_count() == 0\n"
        "with contextlib.suppress(OSError):\n"
        "    imported('broken')\n"
        "assert gc.isenabled()\n"
        "gc.disable()\n"
        "imported('decimal')\n"
        "assert not gc.isenabled()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_lens_on_the_command_line_loads_one_class_of_a_model_and_nothing_that_draws_or_counts(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    program = (
        "import gc, runpy, sys\n"
        "try:\n"
        "    runpy.run_module('bauklens', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print(*sys.modules)\n"
        "    print(gc.isenabled(), gc.get_freeze_count())\n"
    )
    words = ["lens", "the city of", "--model", str(tmp_path / "tiny"), "-o", str(tmp_path / "lens.html")]
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    *_, loaded, collected = (line.split() for line in ran.stdout.splitlines())
    assert collected[0] == "True"
    assert int(collected[1]) > 100_000, "torch and transformers are not left alone by the search for garbage"
    models = {each for each in loaded if re.fullmatch(r"transformers\.models\.(\w+)\.modeling_\1", each)}
    assert models == {f"transformers.models.{each}.modeling_{each}" for each in ("auto", "llama")}
    others = {
        "pandas",
        "pyarrow",
        "xarray",
        "matplotlib",
        "plotly",
        "IPython",
        "datasets",
        "ray",
        "numba",
        "peft",
    }
    assert not {each.partition(".")[0] for each in loaded} & others


def test_making_a_lens_loads_no_transformers_and_looking_for_models_no_torch():
    assert not modules_loaded("-c", "import bauklens; bauklens.logit_lens") & {"transformers"}
    assert not modules_loaded("-c", "import bauklens.model.caches") & {"torch", "transformers"}


def test_every_public_name_is_there():
    for name in bauklens.__all__:
        assert getattr(bauklens, name) is not None
        assert name in dir(bauklens)
    assert (bauklens.logit_lens, bauklens.LensResult) == (logit_lens, LensResult)
    with pytest.raises(AttributeError, match="nothing"):
        bauklens.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["Comparison", "LensResult", "Measure", "Summary", "Target"])
def test_what_can_be_pickled_is_found_at_the_root(name):
    assert getattr(bauklens, name).__module__ == "bauklens"


def test_a_pickle_names_no_module_of_ours_but_the_root():
    arrays = {name: np.ones((3, 4)) for name in ("probability", "logit", "rank")}
    lens = made(targets=[bauklens.Target("a", (0,), "token", "", **arrays)])
    for result in (lens, lens.targets[0], bauklens.compare(lens, lens), bauklens.summarize([lens]), bauklens.MEASURES):
        pickled = pickle.dumps(result, protocol=0)
        assert b"cbauklens\n" in pickled
        assert b"cbauklens." not in pickled
        assert type(pickle.loads(pickled)) is type(result)


def private_names(code):
    """The names with one underscore before them that a module takes from others."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            yield from filter(is_private, [*(node.module or "").split("."), *(each.name for each in node.names)])
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr
        elif isinstance(node, ast.Call):  # monkeypatch.setattr(module, "_name", ...) or ("bauklens.module._name", ...)
            texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            dotted = [text for text in texts if re.fullmatch(r"[\w.]+", text)]
            yield from filter(is_private, [name for text in dotted for name in text.split(".")])


def is_private(name):
    return bool(re.fullmatch("_[a-zA-Z].*[^_]", name)) and name not in OTHERS_NAMES


@pytest.mark.parametrize("name", sorted({each.name for each in Path(__file__).parent.glob("*.py")}))
def test_tests_use_what_anyone_may_use(name):
    code = (Path(__file__).parent / name).read_text(encoding="utf-8")
    assert not list(private_names(code))


@pytest.mark.parametrize(
    "code",
    [
        "from bauklens.model.layout import _walk",
        "from bauklens._hidden import walk",
        "lens._parts",
        "bauklens.lens.run._ran(1)",
        "monkeypatch.setattr(loading, '_ran', None)",
        "monkeypatch.setattr('bauklens.loading._ran', None)",
    ],
)
def test_a_private_name_is_seen(code):
    assert list(private_names(code))
