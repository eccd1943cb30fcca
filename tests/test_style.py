"""Layout, size, order of imports, format and wording of the code, the notebooks and the documentation."""

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
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "cxr_utils"
CODE = ["cxr_utils", "tests", "benchmarks"]
NOTEBOOKS = sorted(path.name for path in REPOSITORY.glob(run.NOTEBOOK_PATTERN))
DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "benchmarks/*.md") for path in REPOSITORY.glob(pattern)]
PUBLIC = set(
    "config download phantom data evaluation models training explain plots reports inference parameters run".split()
)
# Words that are not used any more. The column `films` of localisation_<model>.csv keeps its name.
DROPPED = re.compile(
    r"""(?<!["'`.])\bfilms?\b|\btold apart|\btells? .{0,20}\bapart|\bin vain\b|\bread again\b|\bblind map|"""
    r"can't be told|\bnewcomers?\b|\bmend(s|ed|ing)?\b|\bhouses?\b|\bwings?\b|\brefus(e|es|ed|al)\b|"
    r"\bfor want of\b|\banew\b|\bby heart\b|\bfresh eyes\b|\bfalse alarms?\b|\bsecond readings?\b",
    re.I,
)
# Files that only some machines have. NIH's own address contains "shared" too.
ELSEWHERE = re.compile(r"facts\.md|(?<!box\.com/)\bshared/|/(?:root|work|home)/")
# Every `ast` statement, docstrings included: the package stays small enough to be read.
MOST_STATEMENTS = {"**/*.py": 5065, "reports/slides*.py": 220}


def text_of(path):
    return (REPOSITORY / path).read_text(encoding="utf-8")


def section(path, heading):
    """Returns the text below a heading of the second level, up to the next one."""
    return text_of(path).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


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


def test_thirteen_names_at_the_top():
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {name for name in found if not name.startswith("_")} == PUBLIC


def test_modules_are_short_and_have_a_docstring():
    for path in PACKAGE.rglob("*.py"):
        assert len(text_of(path).splitlines()) <= 250, path
        assert ast.get_docstring(ast.parse(text_of(path))), path


@pytest.mark.parametrize("pattern", MOST_STATEMENTS)
def test_the_package_and_its_slides_stay_small(pattern):
    trees = [ast.parse(text_of(path)) for path in PACKAGE.glob(pattern)]
    assert trees
    assert sum(isinstance(node, ast.stmt) for tree in trees for node in ast.walk(tree)) <= MOST_STATEMENTS[pattern]


def test_input_is_checked_without_assert_and_the_environment_is_read_in_config_only():
    for path in PACKAGE.rglob("*.py"):
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text_of(path)))), path
        read = re.search(r"os\.(environ\.get\(|getenv\(|environ\[)\s*\"CXR_", text_of(path))
        assert not read or path == PACKAGE / "config.py", path


@pytest.mark.parametrize("name", sorted(PUBLIC - {"config", "parameters", "run"}))
def test_a_subpackage_exports_what_it_lists(name):
    package = importlib.import_module(f"{cxr_utils.__name__}.{name}")
    assert package.__all__ == sorted(package.__all__) and all(hasattr(package, each) for each in package.__all__)


@pytest.mark.slow
def test_keras_is_imported_only_where_it_is_needed():
    code = (
        "import sys; from cxr_utils import config, data, download, evaluation, phantom, plots, reports, run; "
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules or 'jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def all_texts():
    """Returns the text of all code, documentation and notebooks by path, without pictures."""
    paths = [
        path for folder in CODE for path in (REPOSITORY / folder).rglob("*.py") if path != Path(__file__).resolve()
    ]
    paths += DOCUMENTS + [REPOSITORY / name for name in NOTEBOOKS]
    paths += [REPOSITORY / name for name in ("Makefile", "requirements.txt", "pyproject.toml", "docs/slides.html")]
    return {path: re.sub(r"[A-Za-z0-9+/=]{200,}", "", text_of(path)) for path in paths}


def test_no_rule_is_switched_off_and_no_file_of_one_machine_is_named():
    for path, text in all_texts().items():
        assert not ELSEWHERE.findall(text) and str(REPOSITORY) not in text, path
        assert path.suffix != ".py" or "noqa" not in text, path
        assert path.suffix != ".ipynb" or "/tmp/" not in text, path


@pytest.mark.slow
def test_dropped_words_occur_nowhere():
    texts = all_texts() | {".ci/run": text_of(".ci/run")}
    # Its section on language lists words to avoid.
    texts[REPOSITORY / "CONTRIBUTING.md"] = text_of("CONTRIBUTING.md").partition("## Language")[0]
    # The changelog names what was renamed.
    texts[REPOSITORY / "CHANGELOG.md"] = re.sub(r"`[^`]*`", "", text_of("CHANGELOG.md"))
    found = [f"{path}: {hit.group()}" for path, text in texts.items() for hit in DROPPED.finditer(text)]
    assert found == []


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= 150


def test_contributing_lists_all_tests_and_modules_and_no_others():
    assert set(re.findall(r"tests/(test_\w+\.py)", section("CONTRIBUTING.md", "Tests"))) == {
        path.name for path in (REPOSITORY / "tests").glob("test_*.py")
    }
    for name, modules in re.findall(r"^\| `(\w+)/` \| .+ \| (.+) \|$", section("CONTRIBUTING.md", "The package"), re.M):
        listed = {module for module in re.findall(r"`(\w+)`", modules) if (PACKAGE / name / f"{module}.py").is_file()}
        assert listed == {path.stem for path in (PACKAGE / name).glob("[a-z]*.py")}, name
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text_of("CONTRIBUTING.md")):
        assert (PACKAGE / path).is_file() or (REPOSITORY / path).is_file(), path


def test_the_documentation_lists_every_parameter_with_its_default():
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \| (.+?) \|", section("docs/methods.md", "Notebook parameters"), re.M)
    listed = {(number, name): default.strip("`") for numbers, name, default in rows for number in numbers.split(", ")}
    found = {}
    for name in NOTEBOOKS:
        for line in nbformat.read(REPOSITORY / name, 4).cells[2].source.splitlines():
            if not line.startswith("#"):
                parameter, _, default = line.partition(" = ")
                found[name[:3], parameter] = default
    assert listed == found


def test_the_documentation_lists_every_environment_variable():
    text = section("docs/methods.md", "Environment variables")
    assert set(re.findall("CXR_[A-Z_]+", text_of("cxr_utils/config.py"))) <= set(re.findall("CXR_[A-Z_]+", text))
