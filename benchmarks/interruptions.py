"""Kills notebooks at random moments and tests whether the next run ends as if nothing had happened.

    nice -n 10 .venv/bin/python -m benchmarks.interruptions --folder <folder> --kills 10 --seed 1 000 100 200 two

Cases are notebooks (`000` to `400`; `000` also from a server, `000-server`) and `two`: two trainings in one folder, one
of them killed. Without cases, all of them. `--folder` holds the phantom, which is drawn once, and all homes (1 GB);
homes of an earlier call are replaced. `--kills` is per case (`000` and `000-server` together are 20).

A notebook runs in a process of its own, as `cxr run` runs it, on a phantom of 300 images with 3 epochs. The kernel and
its parent get SIGKILL either at a random second of the run or up to 20 ms after a random change of a folder, in turn.
Then all files are opened, and the notebook runs again undisturbed. It has to end with the files of a run that was never
killed (`equal`), or stop with one sentence and do so after the notebooks that the sentence names (`one sentence`). What
differs between two undisturbed runs (random names inside SVG) is printed and not compared. `000` uses a release with
archives of its own, whose label table has NIH's 112,120 rows. The last lines are a Markdown table. The exit code is 1
if there is any `other`.
"""

import argparse
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from xml.etree import ElementTree

import cv2
import h5py
import numpy as np
import pandas as pd
import psutil

from cxr_utils import config, phantom, run

PATIENTS = 98  # 300 images
NUMBERS = ["000", "100", "200", "210", "300", "311", "400"]
CASES = ["000", "000-server", *NUMBERS[1:], "two"]
TRAINING = {"IMAGE_SIZE": 48, "EPOCHS": 3}
PARAMETERS = {"100": {"SPLIT": "patient"}, "200": TRAINING, "210": TRAINING | {"WEIGHTS": None}, "311": {"TTA": 1}}
ENVIRONMENT = {"CXR_RANDOM_START": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
RATE = 4e6  # bytes per second of the server
_RUN = (
    "import json, sys; from pathlib import Path; from cxr_utils import run; "
    "sys.exit(not run.run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])))"
)
_SERVE = "import sys; from benchmarks import download; download.serve(sys.argv[1], float(sys.argv[2]))"


class Notebook:
    """One notebook that runs in a process of its own."""

    def __init__(self, number, home, release, copies="notebooks", **parameters):
        path = next(run.REPOSITORY.glob(f"{number}-*.ipynb"))
        self.home, self.copy, self.kernels = home, home / copies / path.name, []
        self.copy.unlink(missing_ok=True)
        self.printed = tempfile.TemporaryFile("w+")
        parameters = json.dumps(PARAMETERS.get(number, {}) | parameters)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(path), str(self.copy.parent), parameters],
            env=os.environ | ENVIRONMENT | {"CXR_HOME": str(home), "CXR_RELEASE": str(release)},
            cwd=run.REPOSITORY, stdout=self.printed, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.part = f".{self.process.pid}.part.*{path.name}"  # the copy while the notebook runs

    def wait_until(self, seconds=np.inf, changes=np.inf):
        """Waits for so many seconds after the start of the first cell, or changes of folders, or the end of the run.

        Returns:
            `(seconds, changes)` since the first cell; `None` in place of both if the notebook has ended before.
        """
        begun, count, last = None, 0, None
        while self.process.poll() is None:
            if begun is None and any(self.copy.parent.glob(self.part)) and self._kernels():
                begun, self.kernels = time.monotonic(), self._kernels()
            if begun:
                now = [os.stat(path).st_mtime_ns for path in _folders(self.home)]
                count, last = count + (now != last), now
                if time.monotonic() - begun >= seconds or count >= changes:
                    return time.monotonic() - begun, count
            time.sleep(0.001)
        if not self.kernels:
            raise RuntimeError(f"{self.copy} has ended without a first cell: {self.end()}")
        self.length = time.monotonic() - (begun or time.monotonic()), count
        return None

    def _kernels(self):
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def kill(self):
        for pid in self.kernels:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # a kernel has a process group of its own
        self.process.kill()
        self.process.wait()

    def end(self):
        """Waits for the end. Returns the sentence with which the notebook stopped, or "" if all cells ran."""
        if self.process.wait() == 0:
            return ""
        self.printed.seek(0)
        text = self.printed.read()
        return (re.findall(r"stopped(?: at cell)?(.+?)(?:\nSee |\Z)", text, re.S) or [text[-500:]])[-1].strip()


def _folders(home):
    """Returns the folders in which notebooks write, those of temporary files included."""
    folders = [path for path in home.iterdir() if path.is_dir() and "notebooks" not in path.name]
    return [home, *folders, *(path for path in (home / "data").glob("*") if path.is_dir())]


def copied(source, target):
    """Replaces a home with a copy of another one (an empty one if `source` is `None`) and returns it."""
    shutil.rmtree(target, ignore_errors=True)
    if source:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("notebooks*"))
    else:
        target.mkdir(parents=True)
    return target


@functools.cache
def finished(folder, number, release):
    """Returns a home in which the notebooks up to this one have run undisturbed."""
    before = NUMBERS[: NUMBERS.index(number)]
    source = finished(folder, before[-1], release) if before else None
    home = copied(source, folder / f"finished-{number}-{'server' if '://' in str(release) else release.name}")
    if said := Notebook(number, home, release).end():
        raise SystemExit(f"{number} does not run undisturbed: {said}")
    return home


def _arrays(path):
    """Returns all arrays and attributes of an HDF5 file."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: found.update({name: str(dict(node.attrs)).encode()}))
        found |= {"": str(dict(file.attrs)).encode()}
        file.visititems(lambda name, node: isinstance(node, h5py.Dataset) and found.update({name: node[()].tobytes()}))
    return found


def _whole_page(path):
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("no </html> at its end")


def _image(path):
    if cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is None or not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
        raise ValueError("not a whole PNG")


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


READERS = {
    ".csv": pd.read_csv, ".json": _json, ".ipynb": _json,
    ".h5": _arrays, ".hdf5": _arrays, ".pkl": pd.read_pickle, ".png": _image, ".html": _whole_page,
    ".npz": lambda path: [*np.load(path).values()], ".svg": ElementTree.parse,
    ".pptx": lambda path: zipfile.ZipFile(path).testzip(),
}  # fmt: skip


def damaged(home):
    """Returns what cannot be opened, temporary files aside."""
    found = []
    for path in home.rglob("*"):
        if path.is_file() and ".part." not in path.name and path.suffix in READERS:
            try:
                READERS[path.suffix](path)
            except Exception as error:
                found.append(f"{path.relative_to(home)} is damaged ({type(error).__name__}: {error})")
    return found


STARTED = re.compile(rb'"run": "[0-9a-f]{16}",\s*"started": "[\d:T+-]+"')


def contents(home, only=""):
    """Returns the content of each file by its path in the home.

    Copies of notebooks and locks are left out, and so are number and start of a training, which differ each time.
    """
    found = {}
    for path in home.rglob("*"):
        name = str(path.relative_to(home))
        if path.is_file() and only in name and not name.startswith(("notebooks", ".locks", "data/.locks")):
            if path.suffix in (".h5", ".hdf5"):
                found[name] = {key: STARTED.sub(b"", value) for key, value in _arrays(path).items()}
            else:
                found[name] = STARTED.sub(b"", path.read_bytes())
    return found


def differences(home, reference, noise=(), only=""):
    """Returns the names of the files that are not as in the reference, and of those left over."""
    ours, theirs = contents(home, only), contents(reference, only)
    return sorted(name for name in {*ours, *theirs} - {*noise} if ours.get(name) != theirs.get(name))


def run_again(number, home, release, reference, noise, only="", **parameters):
    """Runs a notebook undisturbed, if it stops also those that its sentence names. Returns `(outcome, details)`."""
    said = Notebook(number, home, release, **parameters).end()
    if said:
        for name in re.findall(r"delete (?:the file )?([\w.-]+/[\w./-]+)", said):
            (home / name).unlink(missing_ok=True)
        named = [other for other in re.findall(r"\b(\d00|210|311)-\w+", said) if other != number]
        again = [Notebook(other, home, release).end() for other in named]
        again.append(Notebook(number, home, release, **parameters).end())
        if any(again):
            return "other", [f"stops: {said} | then: {' | '.join(filter(None, again))}"]
    wrong = damaged(home) + [f"{name} differs" for name in differences(home, reference, noise, only)]
    wrong += [f"{path.relative_to(home)} is left" for path in home.rglob("*.part.*")]
    return ("other" if wrong else "one sentence" if said else "equal"), wrong + [said] * bool(said)


def kill_one(folder, number, release, kills, rng):
    """Kills one notebook at random moments. Yields the outcome of each kill and its details."""
    reference = finished(folder, number, release)
    before = finished(folder, NUMBERS[NUMBERS.index(number) - 1], release) if number != "000" else None
    undisturbed = Notebook(number, copied(before, folder / "home"), release)
    undisturbed.wait_until()
    noise = differences(folder / "home", reference)
    seconds, changes = undisturbed.length
    print(f"{number}: undisturbed {seconds:.0f} s, {changes} changes of folders. Differ each time: {noise or 'none'}")
    for kill in range(kills):
        home = copied(before, folder / "home")
        notebook = Notebook(number, home, release)
        moment = {"changes": rng.randint(1, changes)} if kill % 2 else {"seconds": rng.uniform(0, seconds)}
        if not (where := notebook.wait_until(**moment)):
            where = notebook.length
        time.sleep(rng.uniform(0, 0.02) * (kill % 2))
        ended = notebook.process.poll() is not None
        notebook.kill()
        wrong = damaged(home)
        outcome, details = run_again(number, home, release, reference, noise)
        yield ("other" if wrong else outcome), [*wrong, *details], _place(where, ended)


def _place(where, ended):
    return f"after {where[0]:.1f} s and {where[1]} changes{', when it had ended' if ended else ''}"


def kill_one_of_two(folder, release, kills, rng):
    """Starts two trainings in one folder and kills one: twice 200 with different seeds, or 200 and 210, in turn."""
    start = finished(folder, "200", release)
    trainings = {"A": ("200", "baseline", {}), "B": ("200", "baseline", {"SEED": 1}), "C": ("210", "mobilenet", {})}
    references, noise = {}, {}
    for name, (number, model, parameters) in trainings.items():
        for home in ("reference", "home"):
            references[name] = copied(start, folder / f"{home}-{name}")
            undisturbed = Notebook(number, references[name], release, **parameters)
            undisturbed.wait_until()
        noise[name] = differences(folder / f"home-{name}", folder / f"reference-{name}", only=model)
        print(f"two: {number} with {parameters} differs each time in {noise[name] or 'none'}")
    seconds, _ = undisturbed.length
    for kill in range(kills):
        home, names = copied(start, folder / "home"), ["A", "BC"[kill % 2]]
        running = {}
        for name in names:
            number, model, parameters = trainings[name]
            running[name] = Notebook(number, home, release, f"notebooks-{name}", **parameters)
            if name == "A":
                running[name].wait_until(seconds=rng.uniform(0, seconds / 5))
        killed, kept = rng.sample(names, 2)
        notebook = running[killed]
        where = notebook.wait_until(seconds=rng.uniform(0.2, 1) * seconds) or notebook.length
        ended = notebook.process.poll() is not None
        notebook.kill()
        said = running[kept].end()
        wrong, outcome = damaged(home), "one sentence" if said else "equal"
        for name in (killed, kept) if said else (kept, killed):
            number, model, parameters = trainings[name]
            if name == kept and not said:
                # If the survivor had ended before the other one began to train, the other one has replaced its files.
                trained = json.loads((home / "logs" / f"{model}_training.json").read_text())
                if trained["seed"] == parameters.get("SEED", config.SEED):
                    wrong += [f"survivor: {n} differs" for n in differences(home, references[name], noise[name], model)]
            else:
                parameters = parameters | {"copies": f"notebooks-{name}"}
                again, details = run_again(number, home, release, references[name], noise[name], model, **parameters)
                outcome = max(outcome, again, key=["equal", "one sentence", "other"].index)
                wrong += [f"{name}: {detail}" for detail in details]
        place = f"{trainings[names[1]][0]} is the second, {killed} killed {_place(where, ended)}; {said}"
        yield ("other" if wrong else outcome), wrong, place


def draw_whole_table(source, folder):
    """Draws a release of the images in `source`: own archives in no order, a label table with NIH's number of rows."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    images = {}
    for archive in phantom.release.ARCHIVES:
        with tarfile.open(source / archive) as tar:
            images |= {member.name: (member, tar.extractfile(member).read()) for member in tar}
    names = random.Random(0).sample(sorted(images), len(images))
    for number, archive in enumerate(phantom.release.ARCHIVES):
        with tarfile.open(folder / archive, "w:gz", compresslevel=1) as tar:
            for name in names[number::3]:
                tar.addfile(images[name][0], phantom.release.BytesIO(images[name][1]))
    (folder / "MD5SUMS").write_text(phantom.release.checksums(folder))
    shutil.copy(source / config.RELEASE_NOTE, folder)
    # Most of the other rows are of the same patients, so that the images are spread over the order of NIH's archives.
    lists = {name: (source / name).read_text().split() for name in (config.TEST_LIST, config.TRAIN_VAL_LIST)}
    tested = {int(name[:8]) for name in lists[config.TEST_LIST]}
    header, *rows = (source / config.LABEL_TABLES[0]).read_text().splitlines()
    more = [(patient, followup) for patient in range(1, PATIENTS + 1) for followup in range(100, 980)]
    more += [(patient, 0) for patient in range(PATIENTS + 1, 1 << 16)]
    for patient, followup in more[: 112_120 - len(rows)]:
        name = f"{patient:08d}_{followup:03d}.png"
        rows.append(f"{name},No Finding,{followup},{patient},50,M,PA,2992,2991,0.143,0.143")
        test = patient in tested or (patient > PATIENTS and len(lists[config.TEST_LIST]) < 25_596)
        lists[config.TEST_LIST if test else config.TRAIN_VAL_LIST].append(name)
    (folder / config.LABEL_TABLES[0]).write_text("\n".join([header, *sorted(rows)]) + "\n")
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(sorted(lines)) + "\n")
    return folder


@contextmanager
def served(folder):
    """Yields the URL at which a process serves the folder."""
    command = [sys.executable, "-c", _SERVE, str(folder), str(RATE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=run.REPOSITORY) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    release = phantom.draw_release(folder / "phantom", PATIENTS)
    whole = draw_whole_table(release, folder / "whole")
    print(f"seed {arguments.seed}, {arguments.kills} kills in each case", flush=True)
    lines, others = [], 0
    for case in arguments.cases or CASES:
        rng, start, outcomes = random.Random(f"{arguments.seed} {case}"), time.monotonic(), Counter()
        with served(whole) if case == "000-server" else nullcontext() as url:
            source = url or (whole if case == "000" else release)
            if case == "two":
                kills = kill_one_of_two(folder, source, arguments.kills, rng)
            else:
                kills = kill_one(folder, case[:3], source, arguments.kills, rng)
            for number, (outcome, details, place) in enumerate(kills, 1):
                outcomes[outcome] += 1
                print(f"{case} kill {number}, {place}: {outcome}. {'; '.join(details)}", flush=True)
        counts = [outcomes[outcome] for outcome in ("equal", "one sentence", "other")]
        others += counts[-1]
        minutes = (time.monotonic() - start) / 60
        lines.append(f"| {case} | {arguments.kills} | {' | '.join(map(str, counts))} | {minutes:.0f} |")
    print("\n| case | kills | equal | one sentence | other | minutes |\n|---|---|---|---|---|---|")
    print("\n".join(lines))
    return int(others > 0)


if __name__ == "__main__":
    sys.exit(main())
