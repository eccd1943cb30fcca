"""Hidden startup messages of TensorFlow, when the process survives them and when it is killed."""

import os
import signal
import subprocess
import sys

import pytest
from jupyter_client import KernelManager

HIDDEN = "I0000 00:00:1795412129.705439    7433 port.cc:153] oneDNN custom operations are on."
SHOWN = "F0000 00:00:1795412129.705439    7433 cpu_feature_guard.c:1] The CPU has no AVX; größer"
LINES = f"{HIDDEN}\n{SHOWN}\n".encode()
ENTER = f"""
import os
from cxr_utils import without_startup_messages
with without_startup_messages():
    os.write(2, {LINES!r})
"""


def test_a_python_without_the_packages_is_told_which_kernel_to_choose():
    hidden = "import importlib.util as util; find = util.find_spec; "
    hidden += "util.find_spec = lambda name, *rest: None if name == 'papermill' else find(name, *rest); "
    outcome = subprocess.run([sys.executable, "-c", f"{hidden}import cxr_utils"], capture_output=True, text=True)
    last = outcome.stderr.splitlines()[-1]
    assert outcome.returncode == 1 and all(words in last for words in (sys.executable, "Chest X-ray", "pip install ."))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("death", "code"), [("os.abort()", -signal.SIGABRT), ("os.kill(os.getpid(), 9)", -9), ("os._exit(3)", 3)]
)
def test_a_process_that_is_killed_in_the_block_has_printed_the_reason(death, code, nested):
    inner = f"    with without_startup_messages():\n        {death}\n" if nested else f"    {death}\n"
    environment = os.environ | {"LC_ALL": "en_US.ISO-8859-1"}
    outcome = subprocess.run([sys.executable, "-c", ENTER + inner], capture_output=True, env=environment)
    assert (outcome.returncode, outcome.stderr.decode()) == (code, SHOWN + "\n")


def test_the_block_can_be_used_again_and_inside_itself():
    code = (
        ENTER.replace("with ", "for _ in range(2):\n  with ")
        + "    with without_startup_messages(): os.write(2, b'x\\n')"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert outcome.stderr.decode() == 2 * f"{SHOWN}\nx\n"


@pytest.mark.slow
def test_a_kernel_that_is_killed_in_the_block_has_printed_the_reason_in_the_terminal():
    reader, terminal = os.pipe()
    kernel = KernelManager()
    # ipykernel does not redirect stderr when pytest is named in the environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    kernel.start_kernel(stdout=subprocess.DEVNULL, stderr=terminal, env=environment)
    os.close(terminal)
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(60)
    client.execute(ENTER + "    os.abort()")
    with open(reader, encoding="utf-8") as file:
        printed = file.read()  # until the kernel and what it started have ended
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
    assert SHOWN in printed.splitlines() and HIDDEN not in printed
