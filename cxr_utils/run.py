"""The seven notebooks in order, headless: `python -m cxr_utils.run`."""

import argparse
import ast
import os
import resource
import sys
import time
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from cxr_utils.files import atomic

REPOSITORY = Path(__file__).parents[1]
# The phantom shows that everything works: twelve epochs of MobileNet keep that within minutes on two cores.
PHANTOM_PARAMETERS = ["210.EPOCHS=12"]


def main(arguments=None):
    """Runs the notebooks; see `python -m cxr_utils.run --help`.

    Args:
        arguments: list of strings, `sys.argv` when `None`.

    Returns:
        int, 0 when all notebooks ran, 1 when one stopped.
    """
    parser = argparse.ArgumentParser(prog="python -m cxr_utils.run", description=__doc__)
    parser.add_argument("--release", default="phantom", help="phantom (default), nih, a folder or a URL")
    parser.add_argument(
        "--home", help="where the run writes; runs/demo for the phantom, else runs/<name of the release>"
    )
    parser.add_argument("--from", dest="first", default="000", help="number of the notebook to start at, such as 200")
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
        chosen = _parameters((PHANTOM_PARAMETERS if phantom else []) + options.parameters, notebooks)
    except ValueError as error:
        parser.error(str(error))
    print(f"release {options.release}; everything is written under {home}", flush=True)
    for path in notebooks:
        if path.name[:3] >= options.first and not run_notebook(path, home / "notebooks", chosen[path.name]):
            return 1
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(
        f"Done. Largest notebook in memory: {peak:.1f} GB. Figures: {home}/figs, pages to read: {home}/notebooks/*.html"
    )
    return 0


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
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\n{path.stem}{' with ' + str(parameters) if parameters else ''}", flush=True)
    start, copy, failure = time.monotonic(), folder / path.name, None
    try:
        papermill.execute_notebook(str(path), str(copy), parameters, kernel_name="python3", cwd=str(REPOSITORY))
    except PapermillExecutionError as error:
        failure = f"stopped at cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    except DeadKernelError:
        failure = "stopped: its kernel died, mostly for want of memory. A smaller BATCH_SIZE or IMAGE_SIZE takes less"
    page, _ = HTMLExporter().from_notebook_node(nbformat.read(copy, as_version=4))
    with atomic(copy.with_suffix(".html")) as part:
        part.write_text(page, encoding="utf-8")
    if failure:
        print(f"{path.stem} {failure}\nSee {copy}", file=sys.stderr)
        return False
    print(
        f"{path.stem}: {time.monotonic() - start:.0f} s, figures in {folder.parent}/figs, page {copy.with_suffix('.html')}",
        flush=True,
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
