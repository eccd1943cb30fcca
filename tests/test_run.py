"""`cxr run`: parameters, where it starts, where it stops; the other subcommands' options."""

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from cxr_utils import config, run
from cxr_utils.__main__ import main
from cxr_utils._files import locked
from tests.conftest import save_split


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Restores the variables that `cxr run` sets, and keeps temporary folders of other ranks in `tmp_path`."""
    names = ("RELEASE", "RANDOM_START", "ALLOW_CPU", "ADDRESS", "PROCESSES", "RANK")
    for name in ("KERAS_BACKEND", *(f"CXR_{name}" for name in names)):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A repository of two tiny notebooks, outside this one; the second needs a file that the first writes."""
    tmp_path = tmp_path / "repository"
    tmp_path.mkdir()
    cells = {
        "000-data_download": [
            "SIZE = 1",
            "from cxr_utils import config; (config.home() / 'made.txt').write_text(str(SIZE))",
        ],
        "200-second": [
            "SIZE = 1\nEPOCHS = 2",
            "from cxr_utils import config; print((config.home() / 'made.txt').read_text(), EPOCHS)",
        ],
    }
    for name, sources in cells.items():
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        book.cells[0].metadata["tags"] = ["parameters"]
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    monkeypatch.setattr(run, "PHANTOM_PARAMETERS", ["200.EPOCHS=7"])
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """A list of the arguments of `run.run_notebook`, which runs nothing."""
    made = []
    monkeypatch.setattr(run, "run_notebook", lambda *arguments: made.append(arguments) or True)
    return made


def edit(path, number, source, **metadata):
    """Replaces the source of a cell and adds metadata to it."""
    book = nbformat.read(path, 4)
    book.cells[number].source = source
    book.cells[number].metadata |= metadata
    nbformat.write(book, path)


@pytest.mark.slow
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
    assert "000-data_download: " in printed and f"{home}/figs" in printed


@pytest.mark.slow
def test_stops_at_the_first_failing_cell_with_its_error(notebooks, tmp_path, capsys):
    home = tmp_path / "elsewhere"
    assert main(["run", "--from", "200", "--home", str(home)]) == 1
    assert not (home / "made.txt").exists()
    message = capsys.readouterr().err
    assert "200-second" in message and "[3]" in message and "FileNotFoundError" in message
    assert "FileNotFoundError" in (home / "notebooks" / "200-second.html").read_text()


def test_parameters_reach_the_notebooks_that_have_them(notebooks, calls):
    assert main(["run", "EPOCHS=3", "SIZE=64", "200.SIZE=None", "200.EPOCHS=4"]) == 0
    chosen = {path.name[:3]: parameters for path, _, parameters in calls}
    assert chosen == {"000": {"SIZE": 64}, "200": {"SIZE": None, "EPOCHS": 4}}


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("None", None), ("5", 5), ("patient", "patient"), ("weights/a.h5", "weights/a.h5"), ("'2'", "2"),
])  # fmt: skip
def test_values_are_read_as_a_notebook_would_write_them(notebooks, calls, text, value):
    assert main(["run", f"SIZE={text}"]) == 0
    read = calls[0][2]["SIZE"]
    assert read == value and type(read) is type(value)


@pytest.mark.slow
@pytest.mark.parametrize(("end", "named", "is_memory"), [
    ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 ", True),
    ("os.write(2, b'F0000 the reason'); os.abort()", "signal 6 ", False),
    ("os._exit(9)", "exit code 9", False),
])  # fmt: skip
def test_how_a_kernel_ended_is_reported(notebooks, tmp_path, capfd, end, named, is_memory):
    edit(notebooks / "000-data_download.ipynb", 1, f"import os, signal; {end}")
    assert main(["run", "--home", str(tmp_path / "elsewhere")]) == 1
    printed, _, message = capfd.readouterr().err.rpartition("000-data_download stopped")
    assert named in message and ("BATCH_SIZE" in message) == is_memory
    assert ("F0000 the reason" in printed) == ("reason" in end)  # written by the kernel, not in the message


@pytest.mark.parametrize("text", ["EPOCHS=0", "200.EPOCHS=1e1", "EPOCHS=1.5", "EPOCHS=", "EPOCHS=True"])
def test_a_wrong_parameter_is_rejected_before_the_first_notebook(notebooks, calls, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", text, "EPOCHS=3"])
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and not calls and "EPOCHS is" in message


def test_a_path_is_relative_to_where_the_command_was_given(notebooks, calls, tmp_path, monkeypatch, capsys):
    names = {"WEIGHTS": "a.h5", "REREADS": "labels.csv.gz", "USER_IMAGE": "sub/1.png"}
    edit(notebooks / "200-second.ipynb", 0, "\n".join(f"{name} = None" for name in names))
    monkeypatch.setattr(run, "PHANTOM_PARAMETERS", [])
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for file in (*names.values(), "imagenet"):
        (tmp_path / file).touch()
    assert main(["run", "--from", "200", *(f"{name}={file}" for name, file in names.items())]) == 0
    assert calls[-1][-1] == {name: str(tmp_path / file) for name, file in names.items()}
    # These are no paths, also if there is such a file.
    others = {"WEIGHTS": "imagenet", "REREADS": None, "USER_IMAGE": str(tmp_path / "a.h5")}
    assert main(["run", "--from", "200", *(f"{name}={value}" for name, value in others.items())]) == 0
    assert calls[-1][-1] == others
    with pytest.raises(SystemExit):
        main(["run", "REREADS=none"])
    assert "REREADS is 'none'" in capsys.readouterr().err


def fail_at_start(tmp_path, monkeypatch, times, code="os._exit(1)"):
    """Makes the first kernels execute `code` before they answer; returns the file with the IDs of all kernels."""
    started = tmp_path / "started"
    started.touch()
    code = f"""import os, signal
with open({str(started)!r}, "r+") as file:
    number = len(file.readlines())
    print(os.getpid(), file=file)
if number < {times}:
    {code}
"""
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start"))
    return started


@pytest.mark.slow
def test_a_kernel_that_does_not_start_gets_a_second_attempt(notebooks, tmp_path, monkeypatch):
    fail_at_start(tmp_path, monkeypatch, 1)
    edit(notebooks / "200-second.ipynb", 1, "1")
    assert main(["run", "--from", "200", "--home", str(tmp_path / "elsewhere")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("code", ["os._exit(1)", "signal.pause()"])
def test_a_kernel_that_never_starts_is_reported_in_one_sentence(notebooks, tmp_path, monkeypatch, capsys, code):
    started = fail_at_start(tmp_path, monkeypatch, 9, code)
    # One second in place of 60 for a kernel that is silent.
    monkeypatch.setattr(papermill, "execute_notebook", partial(papermill.execute_notebook, start_timeout=1))
    assert main(["run", "--home", str(tmp_path / "elsewhere")]) == 1
    message = capsys.readouterr().err
    message = message[message.index("000-data_download stopped") :]  # after papermill's progress bar
    assert "kernel" in message and len(message.splitlines()) == 2
    kernels = [int(line) for line in started.read_text().splitlines()]
    assert len(kernels) == 2
    for kernel in kernels:
        with pytest.raises(ProcessLookupError):
            os.kill(kernel, 0)


@pytest.mark.slow
def test_an_executed_copy_can_be_executed_again_in_its_own_folder(notebooks, tmp_path, monkeypatch):
    home = tmp_path / "elsewhere"
    assert main(["run", "--home", str(home)]) == 0
    monkeypatch.delenv("CXR_HOME")
    (home / "made.txt").write_text("of this run")
    folder = home / "notebooks"
    book = nbformat.read(folder / "200-second.ipynb", 4)
    NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    assert book.cells[-1].outputs[0].text == "of this run 7\n"
    # A folder of this name that no run has written is a home like any other.
    (home / ".locks" / "run.lock").unlink()
    monkeypatch.chdir(folder)
    assert config.home() == folder


def test_a_kernel_named_python3_of_another_python_is_not_used(notebooks, tmp_path, monkeypatch):
    (tmp_path / "kernels" / "python3").mkdir(parents=True)
    foreign = {"argv": ["/nowhere/bin/python", "-f", "{connection_file}"], "display_name": "a", "language": "python"}
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text(json.dumps(foreign))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    edit(notebooks / "200-second.ipynb", 1, "import sys; print(sys.executable)")
    home = tmp_path / "elsewhere"
    assert main(["run", "--from", "200", "--home", str(home)]) == 0
    output = nbformat.read(home / "notebooks" / "200-second.ipynb", 4).cells[-1].outputs[0]
    assert output.text.strip() == sys.executable


@pytest.mark.parametrize(("arguments", "named"), [
    (["SPEED=3"], ["SPEED=3", "EPOCHS", "SIZE"]), (["000.EPOCHS=3"], ["000.EPOCHS=3"]), (["EPOCHS"], ["NAME=VALUE"]),
    (["--from", "999"], ["999", "000", "200"]),
])  # fmt: skip
def test_what_no_notebook_has_is_rejected(notebooks, calls, arguments, named, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and not calls and all(name in message for name in named)


def test_outside_a_checkout_it_says_what_to_do(notebooks, calls, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(run, "REPOSITORY", tmp_path / "empty")
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(SystemExit) as stopped:
        main(["run"])
    assert stopped.value.code == 2 and "000-data_download.ipynb" in capsys.readouterr().err
    # A package that is installed elsewhere runs the notebooks of the checkout that is the current folder.
    monkeypatch.chdir(notebooks)
    assert main(["run"]) == 0 and calls[0][0] == notebooks / "000-data_download.ipynb"


@pytest.mark.parametrize(("release", "name"), [
    ("..", "work"), (".", "inner"), ("../other/", "other"), ("https://host/nih/", "nih"), ("https://host/a/..", "host"),
    ("nih", "nih"), ("phantom", "demo"), ("../demo", "demo_release"), ("https://host/notebooks/", "notebooks_release"),
])  # fmt: skip
def test_the_default_home_is_a_folder_in_runs(notebooks, calls, tmp_path, monkeypatch, release, name):
    for folder in ("work/inner", "work/other"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "inner")
    assert main(["run", "--release", release]) == 0
    assert {folder for _, folder, _ in calls} == {notebooks / "runs" / name / "notebooks"}


@pytest.mark.parametrize("release", ["nih", "phantom"])
def test_a_folder_of_the_same_name_does_not_replace_a_keyword(notebooks, calls, tmp_path, monkeypatch, release):
    (tmp_path / release).mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--release", release]) == 0
    assert os.environ["CXR_RELEASE"] == release


def test_a_leftover_rank_in_the_shell_does_not_prevent_writes(home, notebooks, calls, monkeypatch):
    monkeypatch.setenv("CXR_RANK", "1")
    save_split([1, 4], [2, 3])
    assert (home / "subset" / "train_set.pkl").is_file()
    # Nor do those of a run of several hosts change another run.
    monkeypatch.setenv("CXR_PROCESSES", "2")
    assert main(["run"]) == 0 and len(calls) == 2
    assert (config.rank(), config.processes()) == (0, 1)


def test_leftover_hosts_in_the_shell_do_not_prevent_writes(home, monkeypatch):
    monkeypatch.setenv("CXR_RANK", "1")
    monkeypatch.setenv("CXR_PROCESSES", "2")
    save_split([1, 4], [2, 3])
    assert config.rank() == 0 and (home / "subset" / "train_set.pkl").is_file()


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


def test_relative_paths_are_relative_to_the_current_folder(notebooks, calls, tmp_path, monkeypatch):
    (tmp_path / "release").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--release", "release", "--home", "place"]) == 0
    assert config.release_source() == str(tmp_path / "release")
    assert [folder for _, folder, _ in calls] == 2 * [tmp_path / "place" / "notebooks"]


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


@pytest.mark.parametrize(("arguments", "named"), [
    (["--rank", "1"], ["--address", "--processes"]),
    (["--address", "nowhere", "--processes", "2", "--rank", "0"], ["nowhere", "HOST:PORT"]),
    (["--address", "a:1", "--processes", "1", "--rank", "0"], ["--processes 1"]),
    (["--address", "a:1", "--processes", "2", "--rank", "2"], ["--rank 2", "0 to 1"]),
])  # fmt: skip
def test_several_hosts_need_all_three_options(notebooks, arguments, named, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and all(name in message for name in named)


def test_several_hosts_need_jax(notebooks, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--address", "a:1", "--processes", "2", "--rank", "1"])
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and "KERAS_BACKEND is tensorflow" in message and "jax" in message


def test_a_rank_above_0_runs_the_shared_training_and_writes_nothing(notebooks, tmp_path, capsys):
    path = notebooks / "200-second.ipynb"
    edit(path, 1, "import os; print(os.environ['CXR_RANK'], EPOCHS)", tags=["last-shared"])
    book = nbformat.read(path, 4)
    book.cells.append(nbformat.v4.new_code_cell("raise RuntimeError('after the shared part')"))
    nbformat.write(book, path)
    home = tmp_path / "elsewhere"
    assert main(["run", "--home", str(home), "--address", "a:1", "--processes", "2", "--rank", "1"]) == 0
    assert not home.exists()
    printed = capsys.readouterr().out
    assert "000-data_download" not in printed and "200-second: " in printed


def test_ranks_above_0_run_200_and_210_up_to_the_end_of_the_training(calls, tmp_path):
    assert main(["run", "--home", str(tmp_path), "--address", "a:1", "--processes", "2", "--rank", "1"]) == 0
    assert [path.name[:3] for path, *_ in calls] == ["200", "210"]
    for path, *_ in calls:
        shared = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
        assert "model.fit(" in shared and shared.endswith("training.leave_hosts()")


def test_two_runs_in_one_folder_are_kept_apart(notebooks, calls, capsys, monkeypatch):
    monkeypatch.setenv("CXR_HOME", str(notebooks / "runs" / "demo"))
    with locked("run", "cxr run"):
        assert main(["run"]) == 1
        assert calls == [] and str(os.getpid()) in capsys.readouterr().err
        assert main(["run", "--home", str(notebooks / "elsewhere")]) == 0
    assert main(["run"]) == 0
