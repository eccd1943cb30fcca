"""`make` and `set_up.sh` where cloud notebooks run, on a project with a single small dependency."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

from tests.conftest import REPOSITORY

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "cxr-utils"
version = "0"
requires-python = ">=3.11"
dependencies = ["tabulate>=0.8"]

[project.optional-dependencies]
test = []
gpu = ["six"]

[tool.setuptools]
packages = ["cxr_utils"]
"""
LOCKED = "0.9.0"
UV = Path(sys.executable).with_name("uv")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("make"), reason="needs make")]


@pytest.fixture
def project(tmp_path):
    """Folder of a small project with this project's Makefile and set_up.sh. Its name contains a space."""
    folder = tmp_path / "chest x-rays"
    (folder / "cxr_utils").mkdir(parents=True)
    (folder / "cxr_utils" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "requirements.txt").touch()
    (folder / "requirements.lock").write_text(f"tabulate=={LOCKED}\nsix==1.16.0\n")
    for name in ("Makefile", "set_up.sh"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.fixture
def programs(tmp_path):
    """Folder that is the whole PATH of a set-up: make, the tools of a shell, and Python with pip, but no uv."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("make", "sh", "dirname", "grep", "rm", "id", "env"):
        (folder / name).symlink_to(shutil.which(name))
    _write(folder / "python3", f'exec "{sys.executable}" "$@"')
    return folder


def _write(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _make(project, programs, *targets, **variables):
    outcome = subprocess.run(
        ["make", "--makefile", "Makefile", *targets], cwd=project, capture_output=True, text=True,
        env=os.environ | {"PATH": str(programs), "PYTHON": ""} | variables,
    )  # fmt: skip
    return outcome


def _versions(project):
    """Returns the versions of what is installed in the project's environment."""
    code = "import importlib.metadata as m; print(*(f'{d.name}={d.version}' for d in m.distributions()))"
    python = project / ".venv" / "bin" / "python"
    printed = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=project.parent
    ).stdout
    return dict(pair.split("=") for pair in printed.split())


WITHOUT_ENSUREPIP = f"""case "$*" in *ensurepip*) exit 1;; esac
exec "{sys.executable}" "$@\""""


@pytest.mark.parametrize("installer", ["ensurepip", "pip", "uv"])
def test_make_kernel_sets_up_with_what_the_machine_has(project, programs, installer, tmp_path):
    if installer == "pip":
        _write(programs / "python3", WITHOUT_ENSUREPIP)
    if installer == "uv":
        (programs / "uv").symlink_to(UV)
    # What Colab and Kaggle set for a Python of their own, in which other packages have our packages' names.
    foreign = tmp_path / "foreign"
    (foreign / "tabulate-0.1.dist-info").mkdir(parents=True)
    (foreign / "tabulate-0.1.dist-info" / "METADATA").write_text("Name: tabulate\nVersion: 0.1\n")
    outcome = _make(
        project, programs, ".venv/installed",
        PYTHONPATH=str(foreign), PIP_USER="1", PIP_TARGET=str(foreign), MPLBACKEND="module://colab",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    versions = _versions(project)
    assert versions["cxr-utils"] == "0" and versions["tabulate"] not in ("0.1", LOCKED) and "six" not in versions
    assert [path.name for path in foreign.iterdir()] == ["tabulate-0.1.dist-info"]
    assert (project / ".venv" / "bin" / "pip").exists()
    # Nothing is done twice.
    assert "set_up.sh" not in _make(project, programs, ".venv/installed").stdout


def test_locked_versions_and_gpu_libraries(project, programs):
    (programs / "uv").symlink_to(UV)
    assert _make(project, programs, ".venv/installed-locked", LOCKED="1").returncode == 0
    assert _versions(project)["tabulate"] == LOCKED
    # Later commands keep these versions.
    assert "set_up.sh" not in _make(project, programs, "--dry-run", "lab").stdout
    assert _make(project, programs, "gpu").returncode == 0
    assert "six" in _versions(project)
    # A new list of packages does not forget the libraries, nor does the other kind of set-up.
    (project / "pyproject.toml").write_text(PYPROJECT.replace('"six"', '"six==1.16.0"'))
    assert _make(project, programs, ".venv/installed").returncode == 0
    assert _versions(project)["six"] == "1.16.0"
    (project / "pyproject.toml").write_text(PYPROJECT.replace("0.8", "0.10"))
    outcome = _make(project, programs, ".venv/installed-locked", LOCKED="1")
    assert outcome.returncode != 0 and "tabulate" in outcome.stdout + outcome.stderr
    assert not list((project / ".venv").glob("installed*"))


def test_an_activated_environment_is_set_up_again(project, programs):
    (programs / "uv").symlink_to(UV)
    for _ in range(2):
        outcome = _make(project, programs, "gpu", PATH=f"{project / '.venv' / 'bin'}:{programs}")
        assert outcome.returncode == 0, outcome.stderr
    assert "six" in _versions(project)


@pytest.mark.parametrize(
    ("python", "named"),
    [("exit 1", "3.11, 3.12 or 3.13"), (WITHOUT_ENSUREPIP.replace("ensurepip", "*pip"), "python3-venv")],
)
def test_a_machine_without_a_suitable_python_is_told_what_to_install(project, programs, python, named):
    _write(programs / "python3", python)
    outcome = _make(project, programs, ".venv/installed")
    assert outcome.returncode != 0 and named in outcome.stderr and not list((project / ".venv").glob("installed*"))


def test_the_kernel_ignores_what_its_server_sets_for_another_python(tmp_path):
    environment = os.environ | {"JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    subprocess.run(["make", "--assume-old=.venv/installed", "kernel"], cwd=REPOSITORY, env=environment, check=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "pandas.py").write_text("raise RuntimeError")
    kernels = KernelSpecManager(kernel_dirs=[str(tmp_path / "jupyter" / "kernels")])
    kernel = KernelManager(kernel_name="cxr", kernel_spec_manager=kernels)
    kernel.start_kernel(env=environment | {"PYTHONPATH": str(tmp_path / "foreign"), "MPLBACKEND": "module://colab"})
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(60)
    printed = []
    client.execute_interactive(
        "import pandas, matplotlib.pyplot as plt; print(plt.get_backend())", output_hook=printed.append, timeout=60
    )
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
    assert [message["content"].get("text") for message in printed if message["msg_type"] in ("stream", "error")] == [
        "module://matplotlib_inline.backend_inline\n"
    ]
