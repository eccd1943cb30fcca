"""Runs the seven notebooks in order, without a browser: the subcommand `cxr run`."""

import ast
import os
import resource
import signal
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import nbformat
import papermill
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from cxr_utils import config
from cxr_utils._files import atomic, locked, write_text
from cxr_utils.parameters import FILES, check

REPOSITORY = Path(__file__).parents[1]
FIRST_NOTEBOOK = "000-data_download.ipynb"
NOTEBOOK_PATTERN = "[0-9][0-9][0-9]-*.ipynb"
# A phantom run shows that everything works. With these values it takes minutes on two cores.
PHANTOM_PARAMETERS = ["210.EPOCHS=12", "311.TTA=1"]
# Folders in runs/ that are not for a release of this name: of `cxr run` with the phantom and of `make notebooks`.
RESERVED = ("demo", "notebooks")
# Several hosts train together up to and including the cell with this tag.
LAST_SHARED = "last-shared"


def run_all(release, home, first, hosts, parameters):
    """Runs the notebooks in order; stops at the first that fails.

    Args:
        release: `"phantom"`, `"nih"`, a folder or a URL.
        home: folder where the run writes. When `None`, it is `runs/demo` of the checkout for the phantom, else
            `runs/<name of the release>`, or `runs/<name>_release` for a name in `RESERVED`.
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
    # Normalized, because the last part of a path or URL may be `..`; the name of a link stays.
    place = Path(os.path.abspath(release))
    name = place.name + "_release" if place.name.casefold() in RESERVED else place.name or "release"
    home = Path(home).resolve() if home else folder / "runs" / ("demo" if phantom else name)
    # A path is relative to where the command was given; the notebooks run in the checkout. `nih` and `phantom` are no
    # paths, even where 000 has written a folder of that name.
    is_path = place.is_dir() and release not in ("nih", "phantom")
    os.environ |= {"CXR_HOME": str(home), "CXR_RELEASE": str(place) if is_path else release}
    if phantom:
        os.environ |= {"CXR_RANDOM_START": "1", "CXR_ALLOW_CPU": "1"} | os.environ

    notebooks = sorted(folder.glob(NOTEBOOK_PATTERN))
    if first not in [path.name[:3] for path in notebooks]:
        raise config.UsageError(
            f"--from {first}: no such notebook, choose from {', '.join(p.name[:3] for p in notebooks)}"
        )
    several = _hosts(*hosts)
    chosen = _parameters((PHANTOM_PARAMETERS if phantom else []) + parameters, notebooks)
    print(f"Release: {release}. Everything is written under {home}", flush=True)
    *_, rank = hosts
    try:
        # Rank 0 holds the lock for all hosts.
        with nullcontext() if rank else locked("run", "cxr run"):
            for path in notebooks:
                shared = _shared_part(path) if several else None
                if path.name[:3] < first or (rank and not shared):
                    continue
                os.environ |= several if shared else dict.fromkeys(config.HOST_VARIABLES, "")
                target = home / "notebooks"
                if rank:
                    # Only rank 0 writes into the folder and continues after the training.
                    target = Path(tempfile.mkdtemp(prefix=f"cxr_rank{rank}_"))
                    path = target / path.name
                    nbformat.write(shared, path)
                if not run_notebook(path, target, chosen[path.name]):
                    return 1
    except OSError as error:  # another run holds the lock, or a page cannot be written
        print(error, file=sys.stderr)
        return 1
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    figures = f"Figures: {home}/figs, pages: {home}/notebooks/*.html, slides: {home}/presentation/slides.html"
    written = "Rank 0 continues alone" if rank else figures
    print(f"Done. Largest notebook in memory: {peak:.1f} GB. {written}")
    return 0


def _hosts(address, processes, rank):
    """Returns the environment variables for `training.configure_devices`; an empty dict for a single host."""
    if (address, processes, rank) == (None, None, None):
        return {}
    host, _, port = (address or "").rpartition(":")
    if None in (address, processes, rank) or not host or not port.isdigit() or processes < 2:
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
    print(f"Rank {rank} waits at {address} for all {processes} hosts to train", flush=True)
    return dict(zip(config.HOST_VARIABLES, (address, str(processes), str(rank)), strict=True))


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
        # A Python literal has its value; any other text is a string.
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
        try:
            check({parameter: value})
        except ValueError as error:
            raise config.UsageError(str(error)) from error
        # The notebooks run in another folder than the one in which the command was given.
        if parameter in FILES and value not in (None, *FILES[parameter]):
            value = os.path.abspath(value)
        for taker in takers:
            chosen[taker][parameter] = value
    return chosen


def run_notebook(path, folder, parameters):
    """Runs one notebook, saves the executed copy and an HTML page, and prints the result.

    Args:
        path: `Path` of the notebook.
        folder: `Path` for copy and page.
        parameters: dict of parameters to inject into the copy, by name.

    Returns:
        bool, whether all its cells ran.
    """
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\n{path.stem}{' with ' + str(parameters) if parameters else ''}", flush=True)
    if path.stem in config.TRAINING_NOTEBOOKS.values():
        print(
            f"The bar stands still while it trains; {config.home()}/logs/*_training.csv gets a line per epoch.",
            flush=True,
        )
    start, copy = time.monotonic(), folder / path.name
    with atomic(copy) as part:
        failure = _execute(path, part, parameters)
    page = copy.with_suffix(".html")
    text, _ = HTMLExporter().from_notebook_node(nbformat.read(copy, as_version=4))
    write_text(page, text)
    if failure:
        print(f"{path.stem} stopped{failure}\nSee {copy}", file=sys.stderr)
        return False
    written = f", figures in {config.home()}/figs, page {page}" if folder == config.home() / "notebooks" else ""
    print(f"{path.stem}: {time.monotonic() - start:.0f} s{written}", flush=True)
    return True


def _execute(path, copy, parameters, attempts=2):
    """Runs the notebook `path` into `copy`. Returns why it stopped, or `None` if all its cells ran."""
    try:
        papermill.execute_notebook(
            str(path),
            str(copy),
            parameters,
            kernel_name="python3",
            kernel_manager_class=_ThisPython,
            cwd=path.parent,
            coalesce_streams=True,  # only the last drawing of a progress bar stays in the copy
        )
    except PapermillExecutionError as error:
        return f" at cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    except DeadKernelError:
        lost = ". If another host was lost, JAX stops all of them" if config.processes() > 1 else ""
        code = _ThisPython.exit_code
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        reason = (
            "Usually memory ran out: set a smaller BATCH_SIZE or IMAGE_SIZE"
            if code == -signal.SIGKILL
            else "If it printed a reason, that is in the lines above"
        )
        return f": its kernel ended with {how}. {reason}{lost}"
    except RuntimeError as error:
        if any(cell.get("execution_count") for cell in nbformat.read(copy, as_version=4).cells):
            raise
        # On a busy machine a kernel may need more than the 60 seconds that it is given.
        if attempts > 1:
            return _execute(path, copy, parameters, attempts - 1)
        return (
            f": its kernel did not start in two attempts ({error}). Wait until the machine is less busy and try again"
        )
    return None


class _ThisPython(AsyncKernelManager):
    """Starts a kernel in the Python of this process, also where another one is registered as `python3`.

    `exit_code` is that of the last kernel: `None` while it runs, negative if a signal ended it.
    """

    exit_code = None

    @property
    def kernel_spec(self):
        # What compiled code writes to stderr goes straight to the terminal. By default it goes through a pipe in the
        # kernel, which loses the last lines of a process that aborts.
        # The kernel listens on this machine only, but warns of that at every start.
        quiet = ["--IPKernelApp.capture_fd_output=False", "--IPKernelApp.log_level=ERROR"]
        return KernelSpec(argv=[*make_ipkernel_cmd(), *quiet], language="python")

    async def _async_is_alive(self):
        _ThisPython.exit_code = await self.provisioner.poll()
        return _ThisPython.exit_code is None


def _shared_part(path):
    """Returns the notebook up to the end of the shared training, or `None` if hosts do not share any of it."""
    book = nbformat.read(path, as_version=4)
    tagged = [number for number, cell in enumerate(book.cells, 1) if LAST_SHARED in cell.metadata.get("tags", [])]
    book.cells = book.cells[: max(tagged, default=0)]
    return book if tagged else None
