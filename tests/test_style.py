"""Layout, order of imports, format and wording of the code, the notebooks and the documentation."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import cxr_utils
from cxr_utils import run

REPOSITORY = run.REPOSITORY
PACKAGE = REPOSITORY / "cxr_utils"
CODE = ["cxr_utils", "tests", "benchmarks"]
NOTEBOOKS = sorted(path.name for path in REPOSITORY.glob(run.NOTEBOOK_PATTERN))
PUBLIC = set("config download phantom data evaluation models training explain plots reports inference run".split())
# Words that are not used any more. The column `films` of localisation_<model>.csv keeps its name.
DROPPED = re.compile(
    r"""(?<!["'`.])\bfilms?\b|\btold apart|\btells? .{0,20}\bapart|\bin vain\b|\bread again\b|\bblind map|"""
    r"can't be told|\bnewcomers?\b|\bmend(s|ed|ing)?\b|\bhouses?\b|\bwings?\b|\brefus(e|es|ed|al)\b|"
    r"\bfor want of\b|\banew\b|\bby heart\b",
    re.I,
)


def tool(*command):
    outcome = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_ruff_finds_nothing():
    tool("ruff", "check", *CODE)
    tool("ruff", "format", "--check", *CODE)


def test_ruff_finds_nothing_in_notebooks_whose_lines_are_short():
    tool("ruff", "check", "--line-length", "88", *NOTEBOOKS)
    tool("ruff", "format", "--check", "--line-length", "88", *NOTEBOOKS)


def test_imports_go_one_way():
    tool("lint-imports")


def test_twelve_names_at_the_top():
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {name for name in found if not name.startswith("_")} == PUBLIC


def test_modules_are_short_and_have_a_docstring():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 250, path
        assert ast.get_docstring(ast.parse(text)), path


@pytest.mark.parametrize("name", sorted(PUBLIC - {"config", "models", "run"}))
def test_a_subpackage_exports_what_it_lists(name):
    package = importlib.import_module(f"{cxr_utils.__name__}.{name}")
    assert package.__all__ == sorted(package.__all__) and all(hasattr(package, each) for each in package.__all__)


def test_keras_is_imported_only_where_it_is_needed():
    code = (
        "import sys; from cxr_utils import config, data, download, evaluation, phantom, plots, reports, run; "
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules or 'jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dropped_words_occur_nowhere():
    texts = {}
    for path in (path for folder in CODE for path in (REPOSITORY / folder).rglob("*.py")):
        if path != Path(__file__).resolve():
            texts[path] = path.read_text(encoding="utf-8")
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("benchmarks/*.md")]:
        texts[path] = path.read_text(encoding="utf-8")
    # Its section on language lists words to avoid.
    texts[REPOSITORY / "CONTRIBUTING.md"] = texts[REPOSITORY / "CONTRIBUTING.md"].partition("## Language")[0]
    # The changelog names what was renamed.
    texts[REPOSITORY / "CHANGELOG.md"] = re.sub(r"`[^`]*`", "", texts[REPOSITORY / "CHANGELOG.md"])
    for name in NOTEBOOKS:
        cells = nbformat.read(REPOSITORY / name, 4).cells
        texts[name] = "\n".join([cell.source for cell in cells] + [str(cell.get("outputs", "")) for cell in cells])
        texts[name] = re.sub(r"[A-Za-z0-9+/=]{200,}", "", texts[name])  # pictures
    for path in ("Makefile", ".ci/run", "requirements.txt", "pyproject.toml", "docs/slides.html"):
        texts[path] = re.sub(r"[A-Za-z0-9+/=]{200,}", "", (REPOSITORY / path).read_text(encoding="utf-8"))
    found = [f"{path}: {hit.group()}" for path, text in texts.items() for hit in DROPPED.finditer(text)]
    assert found == []


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
