"""`cxr run`: parameters, where it starts, where it stops; the other subcommands' options."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from cxr_utils import run
from cxr_utils.__main__ import main


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A repository of two tiny notebooks, the second needs a file that the first writes."""
    tmp_path = tmp_path / "repository"
    tmp_path.mkdir()
    cells = {
        "000-data_download": [
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
        "000-data_download.html", "000-data_download.ipynb", "200-second.html", "200-second.ipynb",
    ]  # fmt: skip
    outputs = nbformat.read(home / "notebooks" / "200-second.ipynb", 4).cells[-1].outputs
    assert outputs[0].text == "5 7\n"
    assert "injected" not in (notebooks / "000-data_download.ipynb").read_text()
    printed = capsys.readouterr().out
    assert "000-data_download: " in printed and f"figures in {home}/figs" in printed


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
    assert chosen == {"000-data_download.ipynb": {"SIZE": 64}, "200-second.ipynb": {"SIZE": None, "EPOCHS": 4}}


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("None", None), ("5", 5), ("patient", "patient"), ("weights/a.h5", "weights/a.h5"), ("'2'", "2"),
])  # fmt: skip
def test_values_are_read_as_a_notebook_would_write_them(notebooks, text, value):
    chosen = run._parameters([f"SIZE={text}"], sorted(notebooks.glob("*.ipynb")))
    assert chosen["000-data_download.ipynb"]["SIZE"] == value and type(
        chosen["000-data_download.ipynb"]["SIZE"]
    ) is type(value)


def test_a_kernel_that_dies_is_reported(notebooks, tmp_path, capsys):
    path = notebooks / "000-data_download.ipynb"
    book = nbformat.read(path, 4)
    book.cells[1].source = "import os; os._exit(9)"
    nbformat.write(book, path)
    assert main(["run", "--home", str(tmp_path / "elsewhere")]) == 1
    assert "000-data_download stopped: its kernel died, usually because memory ran out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["SPEED=3"], ["000.EPOCHS=3"], ["EPOCHS"], ["--from", "999"]])
def test_what_no_notebook_has_is_rejected(notebooks, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    expected = "no such notebook" if arguments[0] == "--from" else "expected NAME=VALUE"
    assert stopped.value.code == 2 and expected in capsys.readouterr().err


def test_outside_a_checkout_it_says_what_to_do(notebooks, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(run, "REPOSITORY", tmp_path / "empty")
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(SystemExit) as stopped:
        main(["run"])
    assert stopped.value.code == 2 and "in a checkout of the project" in capsys.readouterr().err
    # A package that is installed elsewhere runs the notebooks of the checkout that is the current folder.
    monkeypatch.chdir(notebooks)
    assert main(["run", "SIZE=5", "--home", str(tmp_path / "elsewhere")]) == 0


@pytest.mark.parametrize("command", ["run", "predict", "check"])
def test_help_has_examples_and_exit_codes(command):
    # In a process of its own, to see what it imports.
    code = f"import sys; from cxr_utils.__main__ import main; sys.argv = ['cxr', '{command}', '--help']; main()"
    outcome = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 0 and "keras" not in outcome.stderr
    assert f"cxr {command}" in outcome.stdout.partition("examples:")[2]
    assert re.findall(r"^  (\d)  \w", outcome.stdout.partition("exit codes:")[2], flags=re.M) == ["0", "1", "2"]


def test_without_a_subcommand_the_command_line_is_wrong(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2 and "SUBCOMMAND" in capsys.readouterr().err


def test_relative_paths_are_relative_to_the_current_folder(notebooks, tmp_path, monkeypatch):
    (tmp_path / "release").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        run, "run_notebook", lambda path, folder, parameters: seen.append((os.environ["CXR_RELEASE"], folder)) or True
    )
    seen = []
    assert main(["run", "--release", "release", "--home", "place"]) == 0
    assert seen == 2 * [(str(tmp_path / "release"), tmp_path / "place" / "notebooks")]


def test_an_error_during_a_run_is_no_usage_error(notebooks, tmp_path, monkeypatch):
    def fail(*given):
        raise ValueError("No template")

    monkeypatch.setattr(run, "run_notebook", fail)
    with pytest.raises(ValueError, match="No template"):
        main(["run", "--home", str(tmp_path / "elsewhere")])


def test_the_command_is_installed_and_python_m_does_the_same():
    commands = [Path(sys.executable).with_name("cxr")], [sys.executable, "-m", "cxr_utils"]
    shown = [subprocess.run([*command, "--help"], capture_output=True, text=True, check=True) for command in commands]
    assert shown[0].stdout == shown[1].stdout and "predict" in shown[0].stdout


def test_a_script_in_any_folder_can_import_the_package_and_its_folder_is_the_home(tmp_path):
    code = "from cxr_utils import config; print(config.home())"
    environment = {name: value for name, value in os.environ.items() if name != "CXR_HOME"}
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert outcome.stdout.strip() == str(tmp_path.resolve()), outcome.stderr


def test_every_notebook_of_the_project_has_its_parameters():
    for path in sorted(run.REPOSITORY.glob("[0-9]*.ipynb")):
        assert papermill.inspect_notebook(str(path)), path.name


@pytest.fixture
def no_hosts(monkeypatch):
    """Removes the variables that a run of several hosts sets."""
    for name in ("KERAS_BACKEND", "CXR_ADDRESS", "CXR_PROCESSES", "CXR_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--rank", "1"], "several hosts need all three"),
    (["--address", "nowhere", "--processes", "2", "--rank", "0"], "several hosts need all three"),
    (["--address", "a:1", "--processes", "1", "--rank", "0"], "several hosts need all three"),
    (["--address", "a:1", "--processes", "2", "--rank", "2"], "--rank 2: expected 0 to 1"),
])  # fmt: skip
def test_several_hosts_need_all_three_options(notebooks, no_hosts, arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["run", *arguments])
    assert message in capsys.readouterr().err


def test_several_hosts_need_jax(notebooks, no_hosts, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(SystemExit):
        main(["run", "--address", "a:1", "--processes", "2", "--rank", "1"])
    assert "KERAS_BACKEND is tensorflow: several hosts train with jax only" in capsys.readouterr().err


def test_a_rank_above_0_runs_the_shared_training_and_writes_nothing(notebooks, no_hosts, tmp_path, capsys):
    path = notebooks / "200-second.ipynb"
    book = nbformat.read(path, 4)
    book.cells[1].source = "import os; print(os.environ['CXR_RANK'], EPOCHS)  # training.leave_hosts()"
    book.cells.append(nbformat.v4.new_code_cell("raise RuntimeError('after the shared part')"))
    nbformat.write(book, path)
    home = tmp_path / "elsewhere"
    assert main(["run", "--home", str(home), "--address", "a:1", "--processes", "2", "--rank", "1"]) == 0
    assert not home.exists()
    printed = capsys.readouterr().out
    assert "000-data_download" not in printed and "200-second: " in printed and "rank 0 continues alone" in printed


def test_hosts_separate_in_the_notebooks_that_train():
    trains = [
        p.name[:3] for p in sorted(run.REPOSITORY.glob("[0-9]*.ipynb")) if run.LAST_SHARED_LINE in p.read_text("utf-8")
    ]
    assert trains == ["200", "210"]
