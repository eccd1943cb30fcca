"""Runs the seven notebooks in order, without a browser: the subcommand `cxr run`."""

import ast
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from cxr_utils import config
from cxr_utils._files import atomic

REPOSITORY = Path(__file__).parents[1]
FIRST_NOTEBOOK = "000-data_download.ipynb"
NOTEBOOK_PATTERN = "[0-9][0-9][0-9]-*.ipynb"
# A phantom run shows that everything works: with twelve epochs of MobileNet it takes minutes on two cores.
PHANTOM_PARAMETERS = ["210.EPOCHS=12"]
# Several hosts train together up to and including the cell with this line.
LAST_SHARED_LINE = "training.leave_hosts()"


def run_all(release, home, first, hosts, parameters):
    """Runs the notebooks in order; stops at the first that fails.

    Args:
        release: `"phantom"`, `"nih"`, a folder or a URL.
        home: folder where the run writes. When `None`, it is `runs/demo` of the checkout for the phantom, else
            `runs/<name of the release>`.
        first: number of the notebook to start at, such as `"200"`.
        hosts: `(address, processes, rank)` if several hosts train together, else three `None`.
        parameters: list of `"NAME=VALUE"` for all notebooks that have it, or `"210.NAME=VALUE"` for one.

    Returns:
        int, 0 when all notebooks ran, 1 when one stopped.

    Raises:
        config.UsageError: an argument is not one of these, or no notebooks are found.
    """
    folder = next((place for place in (REPOSITORY, Path.cwd()) if (place / FIRST_NOTEBOOK).is_file()), None)
    if folder is None:
        raise config.UsageError(
            f"no notebooks in {REPOSITORY} or {Path.cwd()}: start cxr run in a checkout of the project, in the "
            "folder of 000-data_download.ipynb"
        )
    phantom = release == "phantom"
    name = "demo" if phantom else release.rstrip("/").rpartition("/")[2]
    home = Path(home).resolve() if home else folder / "runs" / name
    # A path is relative to where the command was given; the notebooks run in the checkout.
    source = str(Path(release).resolve()) if Path(release).is_dir() else release
    os.environ |= {"CXR_HOME": str(home), "CXR_RELEASE": source}
    if phantom:
        os.environ.setdefault("CXR_RANDOM_START", "1")

    notebooks = sorted(folder.glob(NOTEBOOK_PATTERN))
    if first not in [path.name[:3] for path in notebooks]:
        raise config.UsageError(
            f"--from {first}: no such notebook, choose from {', '.join(p.name[:3] for p in notebooks)}"
        )
    environment = _hosts(*hosts)
    chosen = _parameters((PHANTOM_PARAMETERS if phantom else []) + parameters, notebooks)
    print(f"Release: {release}. Everything is written under {home}", flush=True)
    address, processes, rank = hosts
    if environment:
        print(f"Rank {rank} waits at {address} for all {processes} hosts to train", flush=True)
    for path in notebooks:
        together = bool(environment) and LAST_SHARED_LINE in path.read_text(encoding="utf-8")
        if path.name[:3] < first or (rank and not together):
            continue
        for variable, value in environment.items():
            os.environ[variable] = value if together else ""
        if not run_notebook(path, home / "notebooks", chosen[path.name]):
            return 1
    if rank:
        print("Done: rank 0 continues alone.")
        return 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"Done. Largest notebook in memory: {peak:.1f} GB. Figures: {home}/figs, pages: {home}/notebooks/*.html")
    return 0


def _hosts(address, processes, rank):
    """Returns the environment variables for `training.configure_devices`; an empty dict for a single host."""
    given = (address, processes, rank)
    if given == (None, None, None):
        return {}
    host, _, port = (address or "").rpartition(":")
    if None in given or not host or not port.isdigit() or processes < 2:
        raise config.UsageError(
            f"--address {address} --processes {processes} --rank {rank}: several hosts need all three, HOST:PORT of "
            "rank 0, 2 or more processes, and the rank of this host"
        )
    if not 0 <= rank < processes:
        raise config.UsageError(f"--rank {rank}: expected 0 to {processes - 1}, a different one on each host")
    if os.environ.setdefault("KERAS_BACKEND", "jax") != "jax":
        raise config.UsageError(
            f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']}: several hosts train with jax only, unset it"
        )
    return {"CXR_ADDRESS": address, "CXR_PROCESSES": str(processes), "CXR_RANK": str(rank)}


def _parameters(texts, notebooks):
    """Returns the parameters to inject by name of notebook; a later value replaces an earlier one."""
    known = {path.name: papermill.inspect_notebook(str(path)) for path in notebooks}
    chosen = {name: {} for name in known}
    for text in texts:
        name, given, value = text.partition("=")
        number, dot, parameter = name.rpartition(".")
        takers = [n for n in known if parameter in known[n] and n.startswith(number if dot else "")]
        if not given or not takers:
            every = sorted({parameter for names in known.values() for parameter in names})
            raise config.UsageError(
                f"'{text}': expected NAME=VALUE or 210.NAME=VALUE, with NAME one of {', '.join(every)}"
            )
        for taker in takers:
            chosen[taker][parameter] = _value(value)
    return chosen


def _value(text):
    """Returns the value of a Python literal; any other text is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def run_notebook(path, folder, parameters):
    """Runs one notebook, saves the executed copy and an HTML page, and prints the result.

    Args:
        path: `Path` of the notebook.
        folder: `Path` for copy and page.
        parameters: dict of parameters to inject into the copy, by name.

    Returns:
        bool, whether all its cells ran.
    """
    if config.rank():
        # Only rank 0 writes into the folder and continues after the training.
        folder = Path(tempfile.mkdtemp(prefix=f"cxr_rank{config.rank()}_"))
        path = _shared_part(path, folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\n{path.stem}{' with ' + str(parameters) if parameters else ''}", flush=True)
    start, copy, failure = time.monotonic(), folder / path.name, None
    try:
        papermill.execute_notebook(str(path), str(copy), parameters, kernel_name="python3", cwd=str(path.parent))
    except PapermillExecutionError as error:
        failure = f"stopped at cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    except DeadKernelError:
        failure = "stopped: its kernel died, usually because memory ran out. Set a smaller BATCH_SIZE or IMAGE_SIZE"
        if config.processes() > 1:
            failure += ". If another host was lost, JAX stops all of them"
    page, _ = HTMLExporter().from_notebook_node(nbformat.read(copy, as_version=4))
    with atomic(copy.with_suffix(".html")) as part:
        part.write_text(page, encoding="utf-8")
    if failure:
        print(f"{path.stem} {failure}\nSee {copy}", file=sys.stderr)
        return False
    if config.rank():
        print(f"{path.stem}: {time.monotonic() - start:.0f} s", flush=True)
        return True
    written = f"figures in {folder.parent}/figs, page {copy.with_suffix('.html')}"
    print(f"{path.stem}: {time.monotonic() - start:.0f} s, {written}", flush=True)
    return True


def _shared_part(path, folder):
    """Writes the notebook up to the end of the shared training into `folder` and returns its path there."""
    book = nbformat.read(path, as_version=4)
    last = next(number for number, cell in enumerate(book.cells) if LAST_SHARED_LINE in cell.source)
    book.cells = book.cells[: last + 1]
    nbformat.write(book, folder / path.name)
    return folder / path.name
