"""The headless run: parameters, where it starts, where it stops."""

import nbformat
import papermill
import pytest

from cxr_utils import run
from cxr_utils.__main__ import main


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A repository of two tiny notebooks, the second of which needs a file that the first writes."""
    tmp_path = tmp_path / "repository"
    tmp_path.mkdir()
    cells = {
        "000-first": [
            "SIZE = 1",
            "import os, pathlib; p = pathlib.Path(os.environ['CXR_HOME']); (p / 'made.txt').write_text(str(SIZE))",
        ],
        "200-second": [
            "SIZE, EPOCHS = 1, 2",
            "import os, pathlib; print((pathlib.Path(os.environ['CXR_HOME']) / 'made.txt').read_text(), EPOCHS)",
        ],
    }
    for name, sources in cells.items():
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        book.cells[0].source = book.cells[0].source.replace("SIZE, EPOCHS = 1, 2", "SIZE = 1\nEPOCHS = 2")
        book.cells[0].metadata["tags"] = ["parameters"]
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    monkeypatch.setattr(run, "PHANTOM_PARAMETERS", ["200.EPOCHS=7"])
    return tmp_path


def test_runs_all_in_order_and_keeps_copies_and_pages(notebooks, capsys):
    assert main(["run", "SIZE=5"]) == 0
    home = notebooks / "runs" / "demo"
    assert sorted(path.name for path in (home / "notebooks").iterdir()) == [
        "000-first.html", "000-first.ipynb", "200-second.html", "200-second.ipynb",
    ]  # fmt: skip
    outputs = nbformat.read(home / "notebooks" / "200-second.ipynb", 4).cells[-1].outputs
    assert outputs[0].text == "5 7\n"
    assert "injected" not in (notebooks / "000-first.ipynb").read_text()
    printed = capsys.readouterr().out
    assert "000-first: " in printed and f"figures in {home}/figs" in printed


def test_stops_at_the_first_failing_cell_with_its_error(notebooks, tmp_path, capsys):
    home = tmp_path / "elsewhere"
    assert main(["run", "--from", "200", "--home", str(home)]) == 1
    assert not (home / "made.txt").exists()
    message = capsys.readouterr().err
    assert "200-second stopped at cell [3]: FileNotFoundError" in message
    assert "FileNotFoundError" in (home / "notebooks" / "200-second.html").read_text()


def test_parameters_reach_the_notebooks_that_have_them(notebooks):
    paths = sorted(notebooks.glob("*.ipynb"))
    chosen = run._parameters(["EPOCHS=3", "SIZE=64", "200.SIZE=None", "200.EPOCHS=4"], paths)
    assert chosen == {"000-first.ipynb": {"SIZE": 64}, "200-second.ipynb": {"SIZE": None, "EPOCHS": 4}}


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("None", None), ("5", 5), ("patient", "patient"), ("weights/a.h5", "weights/a.h5"), ("'2'", "2"),
])  # fmt: skip
def test_values_are_read_as_a_notebook_would_write_them(notebooks, text, value):
    chosen = run._parameters([f"SIZE={text}"], sorted(notebooks.glob("*.ipynb")))
    assert chosen["000-first.ipynb"]["SIZE"] == value and type(chosen["000-first.ipynb"]["SIZE"]) is type(value)


def test_a_kernel_that_dies_is_said(notebooks, tmp_path, capsys):
    path = notebooks / "000-first.ipynb"
    book = nbformat.read(path, 4)
    book.cells[1].source = "import os; os._exit(9)"
    nbformat.write(book, path)
    assert main(["run", "--home", str(tmp_path / "elsewhere")]) == 1
    assert "000-first stopped: its kernel died, mostly for want of memory" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["SPEED=3"], ["000.EPOCHS=3"], ["EPOCHS"], ["--from", "999"]])
def test_what_no_notebook_has_is_refused(notebooks, arguments, capsys):
    with pytest.raises(SystemExit):
        main(["run", *arguments])
    assert "expected NAME=VALUE" in capsys.readouterr().err or arguments[0] == "--from"


def test_every_notebook_of_the_project_has_its_parameters():
    for path in sorted(run.REPOSITORY.glob("[0-9]*.ipynb")):
        assert papermill.inspect_notebook(str(path)), path.name


@pytest.fixture
def no_hosts(monkeypatch):
    """Takes back the variables that a run of several hosts sets."""
    for name in ("KERAS_BACKEND", "CXR_ADDRESS", "CXR_PROCESSES", "CXR_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--rank", "1"], "several hosts need all three"),
    (["--address", "nowhere", "--processes", "2", "--rank", "0"], "several hosts need all three"),
    (["--address", "a:1", "--processes", "1", "--rank", "0"], "several hosts need all three"),
    (["--address", "a:1", "--processes", "2", "--rank", "2"], "--rank 2: expected 0 to 1"),
])  # fmt: skip
def test_hosts_are_given_whole(notebooks, no_hosts, arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["run", *arguments])
    assert message in capsys.readouterr().err


def test_hosts_train_under_jax_alone(notebooks, no_hosts, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(SystemExit):
        main(["run", "--address", "a:1", "--processes", "2", "--rank", "1"])
    assert "KERAS_BACKEND is tensorflow: several hosts train under jax alone" in capsys.readouterr().err


def test_a_rank_above_0_runs_what_trains_up_to_the_parting_and_writes_nothing(notebooks, no_hosts, tmp_path, capsys):
    path = notebooks / "200-second.ipynb"
    book = nbformat.read(path, 4)
    book.cells[1].source = "import os; print(os.environ['CXR_RANK'], EPOCHS)  # training.leave_hosts()"
    book.cells.append(nbformat.v4.new_code_cell("raise RuntimeError('past the parting')"))
    nbformat.write(book, path)
    home = tmp_path / "elsewhere"
    assert main(["run", "--home", str(home), "--address", "a:1", "--processes", "2", "--rank", "1"]) == 0
    assert not home.exists()
    printed = capsys.readouterr().out
    assert "000-first" not in printed and "200-second: " in printed and "rank 0 goes on alone" in printed


def test_the_notebooks_that_train_have_a_parting():
    trains = [p.name[:3] for p in sorted(run.REPOSITORY.glob("[0-9]*.ipynb")) if run.PARTING in p.read_text("utf-8")]
    assert trains == ["200", "210"]
