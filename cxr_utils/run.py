"""The seven notebooks in order, headless: `python -m cxr_utils.run`.

Several hosts train together when each is started with the same arguments but `--rank`. They need JAX, a folder that all see as
`--home`, and a port of rank 0 that the others reach. Rank 0 runs all notebooks; the others join it in the training of 200 and
210, write nothing into the folder, and wait as long as rank 0 is about other things.
"""

import argparse
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
from cxr_utils.files import atomic

REPOSITORY = Path(__file__).parents[1]
# The phantom shows that everything works: twelve epochs of MobileNet keep that within minutes on two cores.
PHANTOM_PARAMETERS = ["210.EPOCHS=12"]
# The line of a notebook up to which several hosts work together.
PARTING = "devices.leave()"


def main(arguments=None):
    """Runs the notebooks; see `python -m cxr_utils.run --help`.

    Args:
        arguments: list of strings, `sys.argv` when `None`.

    Returns:
        int, 0 when all notebooks ran, 1 when one stopped.
    """
    parser = argparse.ArgumentParser(prog="python -m cxr_utils.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--release", default="phantom", help="phantom (default), nih, a folder or a URL")
    parser.add_argument(
        "--home", help="where the run writes; runs/demo for the phantom, else runs/<name of the release>"
    )
    parser.add_argument("--from", dest="first", default="000", help="number of the notebook to start at, such as 200")
    parser.add_argument("--address", metavar="HOST:PORT", help="several hosts: where rank 0 listens, a free port of it")
    parser.add_argument("--processes", type=int, help="several hosts: how many")
    parser.add_argument("--rank", type=int, help="several hosts: which this is, from 0")
    parser.add_argument(
        "parameters", nargs="*", help="NAME=VALUE for all notebooks that have it, 210.NAME=VALUE for one"
    )
    options = parser.parse_args(arguments)
    phantom = options.release == "phantom"
    name = "demo" if phantom else options.release.rstrip("/").rpartition("/")[2]
    home = Path(options.home).resolve() if options.home else REPOSITORY / "runs" / name
    # A path is meant from where the command was given; the notebooks run in the repository.
    release = str(Path(options.release).resolve()) if Path(options.release).is_dir() else options.release
    os.environ |= {"CXR_HOME": str(home), "CXR_RELEASE": release}
    if phantom:
        os.environ.setdefault("CXR_RANDOM_START", "1")

    notebooks = sorted(REPOSITORY.glob("[0-9][0-9][0-9]-*.ipynb"))
    if options.first not in [path.name[:3] for path in notebooks]:
        parser.error(
            f"--from {options.first}: there is no such notebook, choose of {', '.join(p.name[:3] for p in notebooks)}"
        )
    try:
        hosts = _hosts(options)
        chosen = _parameters((PHANTOM_PARAMETERS if phantom else []) + options.parameters, notebooks)
    except ValueError as error:
        parser.error(str(error))
    print(f"release {options.release}; everything is written under {home}", flush=True)
    if hosts:
        print(f"rank {options.rank}: waits at {options.address} for all {options.processes} hosts to train", flush=True)
    for path in notebooks:
        together = bool(hosts) and PARTING in path.read_text(encoding="utf-8")
        if path.name[:3] < options.first or options.rank and not together:
            continue
        for name, value in hosts.items():
            os.environ[name] = value if together else ""
        if not run_notebook(path, home / "notebooks", chosen[path.name]):
            return 1
    if options.rank:
        print("Done: rank 0 goes on alone.")
        return 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(
        f"Done. Largest notebook in memory: {peak:.1f} GB. Figures: {home}/figs, pages to read: {home}/notebooks/*.html"
    )
    return 0


def _hosts(options):
    """Returns the environment variables that `devices.use_all` connects to other hosts by; none for a single host."""
    given = (options.address, options.processes, options.rank)
    if given == (None, None, None):
        return {}
    host, _, port = (options.address or "").rpartition(":")
    if None in given or not host or not port.isdigit() or options.processes < 2:
        raise ValueError(
            f"--address {given[0]} --processes {given[1]} --rank {given[2]}: several hosts need all three, HOST:PORT of rank 0, "
            "2 or more processes, and the rank of this host"
        )
    if not 0 <= options.rank < options.processes:
        raise ValueError(f"--rank {options.rank}: expected 0 to {options.processes - 1}, each on one of the hosts")
    if os.environ.setdefault("KERAS_BACKEND", "jax") != "jax":
        raise ValueError(
            f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']}: several hosts train under jax alone, unset it"
        )
    return {"CXR_ADDRESS": options.address, "CXR_PROCESSES": str(options.processes), "CXR_RANK": str(options.rank)}


def _parameters(texts, notebooks):
    """Returns for each notebook's name the parameters to inject; a later one overrides an earlier one."""
    known = {path.name: papermill.inspect_notebook(str(path)) for path in notebooks}
    chosen = {name: {} for name in known}
    for text in texts:
        name, given, value = text.partition("=")
        number, dot, parameter = name.rpartition(".")
        takers = [n for n in known if parameter in known[n] and n.startswith(number if dot else "")]
        if not given or not takers:
            every = sorted({parameter for names in known.values() for parameter in names})
            raise ValueError(f"'{text}': expected NAME=VALUE or 210.NAME=VALUE with NAME of {', '.join(every)}")
        for taker in takers:
            chosen[taker][parameter] = _value(value)
    return chosen


def _value(text):
    """Reads a value as a notebook would write it; what is no Python literal is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def run_notebook(path, folder, parameters):
    """Runs one notebook into an executed copy and an HTML page, and says how it went.

    Args:
        path: `Path` of the notebook.
        folder: `Path` where copy and page go.
        parameters: dict of name → value to inject into the copy.

    Returns:
        bool, whether all its cells ran.
    """
    if config.rank():
        # Only rank 0 writes into the folder, and goes on after the training.
        folder = Path(tempfile.mkdtemp(prefix=f"cxr_rank{config.rank()}_"))
        path = _until_parting(path, folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\n{path.stem}{' with ' + str(parameters) if parameters else ''}", flush=True)
    start, copy, failure = time.monotonic(), folder / path.name, None
    try:
        papermill.execute_notebook(str(path), str(copy), parameters, kernel_name="python3", cwd=str(REPOSITORY))
    except PapermillExecutionError as error:
        failure = f"stopped at cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    except DeadKernelError:
        failure = "stopped: its kernel died, mostly for want of memory. A smaller BATCH_SIZE or IMAGE_SIZE takes less"
        if config.processes() > 1:
            failure += "; where another host was lost, JAX ends all"
    page, _ = HTMLExporter().from_notebook_node(nbformat.read(copy, as_version=4))
    with atomic(copy.with_suffix(".html")) as part:
        part.write_text(page, encoding="utf-8")
    if failure:
        print(f"{path.stem} {failure}\nSee {copy}", file=sys.stderr)
        return False
    if config.rank():
        print(f"{path.stem}: {time.monotonic() - start:.0f} s", flush=True)
        return True
    print(
        f"{path.stem}: {time.monotonic() - start:.0f} s, figures in {folder.parent}/figs, page {copy.with_suffix('.html')}",
        flush=True,
    )
    return True


def _until_parting(path, folder):
    """Writes the notebook up to the end of the common training into `folder`; returns its path there."""
    book = nbformat.read(path, as_version=4)
    last = next(number for number, cell in enumerate(book.cells) if PARTING in cell.source)
    book.cells = book.cells[: last + 1]
    nbformat.write(book, folder / path.name)
    return folder / path.name


if __name__ == "__main__":
    sys.exit(main())
