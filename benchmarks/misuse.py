"""Tries what a user may do between and during notebooks, and tests whether any result is wrong without a message.

    nice -n 10 .venv/bin/python -m benchmarks.misuse --folder <folder> [part of the name of an action …]

Each action runs cells of notebooks in kernels, on the phantom at 48×48 pixels with 3 epochs: cells run twice, in
another order, are interrupted (SIGINT); another kernel works while the first is paused (SIGSTOP) in its second epoch;
files are replaced. `--folder` holds the phantom, which is drawn once, and homes (1 GB): `before` is a home after 100,
`done` one after all seven notebooks, `other` one with a baseline of another seed. Delete `finished-*` and `other` in it
after a change of the code. All 45 actions take about 40 minutes on two free cores.

After the last notebook of an action, everything that it shows is computed again with OpenCV, plain Keras and
scikit-learn: predictions, AUROC, mean risks, differences, thresholds; the best epoch of the log, its AUROC, and the
number of training steps in the model file; and whether a test image was used in training, from the variables of the
kernel that trained. `right`: all of this agrees. `stops`: the last notebook raised an error. `WRONG`: it showed
something that does not agree. The last lines are a Markdown table. The exit code is 1 if there is any `WRONG`.
"""

import argparse
import re
import shutil
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from benchmarks.interruptions import copied, finished
from benchmarks.misuse_checks import FIT, KEEP, Kernel, audit, kernels, pixels, sha256, trained_on
from cxr_utils import config, phantom

PATIENTS = 490
BUILD, COMPILE = "models.build_baseline(", "model.compile("
# Printed lines that tell the user about more than a result.
MESSAGE = re.compile(r"scratch|resum|continu|warning(?!: no GPU|:tensorflow)|not recorded|stale|since", re.I)
STARTS = {"before": "100", "done": "400"}  # the last notebook that has run when an action starts
actions = []


def action(name, expected, start="done"):
    """Registers an action, which starts in a copy of a home and returns the kernel of its last notebook."""

    def register(function):
        actions.append(SimpleNamespace(name=name, expected=expected, start=start, function=function))
        return function

    return register


def whole(number, home, **parameters):
    return Kernel(number, home, **parameters).run()


def put(source, home, *patterns):
    """Copies files from another home."""
    for pattern in patterns:
        for path in source.glob(pattern):
            shutil.copy(path, home / path.relative_to(source))


def same(home, other, *patterns):
    """Returns whether both homes have the same files of these patterns, with the same bytes."""
    files = [
        {path.relative_to(place): sha256(path) for pattern in patterns for path in place.glob(pattern)}
        for place in (home, other)
    ]
    return files[0] == files[1]


def as_in(other, kernel):
    """Returns the kernel; raises if it did not stop and its log differs from that of an undisturbed run."""
    assert kernel.error or same(kernel.home, other, "logs/baseline_training.csv"), "the log differs"
    return kernel


@action("runs 100 with another SPLIT while 200 trains, then 300", "stops")
def _(home, homes):
    first = Kernel("200", home, SEED=1).run(last=COMPILE).train_into_epoch_2()
    whole("100", home, SPLIT="stratified")
    first.finish()
    return whole("300", home)


@action("runs 100 with another SEED while 200 trains, then 300", "stops")
def _(home, homes):
    first = Kernel("200", home, SEED=1).run(last=COMPILE).train_into_epoch_2()
    whole("100", home, SEED=7)
    first.finish()
    return whole("300", home)


@action(
    "runs 100 with another SPLIT between the cell that loads images and the training cell", "right or stops", "before"
)
def _(home, homes):
    first = Kernel("200", home).run(last=COMPILE)
    whole("100", home, SPLIT="stratified")
    if first.run(FIT).error:
        return first
    return whole("300", home)


@action("runs 100 with another SPLIT after 200, then 300", "stops")
def _(home, homes):
    whole("100", home, SPLIT="stratified")
    return whole("300", home)


@action("runs 100 with another SPLIT after 311, then 400", "stops")
def _(home, homes):
    whole("100", home, SPLIT="stratified")
    return whole("400", home)


@action("starts 200 with another SEED while 200 trains; the first one goes on to its end", "right", "before")
def _(home, homes):
    first = Kernel("200", home).run(last=COMPILE).train_into_epoch_2()
    whole("200", home, SEED=1)
    return first.finish()


@action("starts 200 with another SEED while 200 trains; the second one", "stops", "before")
def _(home, homes):
    Kernel("200", home).run(last=COMPILE).train_into_epoch_2()
    return whole("200", home, SEED=1)


@action("starts 200 with another SEED while 200 trains; the second one, which ends last", "right or stops", "before")
def _(home, homes):
    first = Kernel("200", home, EPOCHS=7).run(last=COMPILE).train_into_epoch_2()
    second = Kernel("200", home, SEED=1).run(last=COMPILE).train_into_epoch_2()
    first.finish()
    return second.finish()


@action("runs 210 while 200 trains", "right", "before")
def _(home, homes):
    first = Kernel("200", home).run(last=COMPILE).train_into_epoch_2()
    whole("210", home)
    return first.finish()


@action("runs 300 while 200 trains, then 400 when both have ended", "stops")
def _(home, homes):
    first = Kernel("200", home, SEED=1).run(last=COMPILE).train_into_epoch_2()
    whole("300", home)
    first.finish()
    return whole("400", home)


@action("runs 200 with another SEED, then 400 without 300", "stops")
def _(home, homes):
    whole("200", home, SEED=1)
    return whole("400", home)


@action("runs 200 with another SEED, then 300 and 400 without 311", "right")
def _(home, homes):
    whole("200", home, SEED=1)
    whole("300", home)
    return whole("400", home)


@action("kills 200 with another SEED in its second epoch, then runs 300", "right or stops")
def _(home, homes):
    Kernel("200", home, SEED=1).run(last=COMPILE).train_into_epoch_2().signal(9)
    return whole("300", home)


@action("kills 200 with another SEED in its second epoch, then runs 400", "right or stops")
def _(home, homes):
    Kernel("200", home, SEED=1).run(last=COMPILE).train_into_epoch_2().signal(9)
    return whole("400", home)


@action("runs the training cell twice, then the rest of 200", "right", "before")
def _(home, homes):
    return Kernel("200", home).run(last=FIT).run(FIT)


@action("runs 200 a second time in the same kernel, from the cell that builds the model", "as the first time")
def _(home, homes):
    kernel = whole("200", home).run(BUILD)
    return as_in(homes["done"], kernel)


@action("runs the cells that build, compile and train a second time without the rest in between", "as the first time")
def _(home, homes):
    kernel = Kernel("200", home).run(last=FIT).run(BUILD)
    return as_in(homes["done"], kernel)


@action("runs the training cell and the next one again after the end of 200", "right or stops", "before")
def _(home, homes):
    return whole("200", home).cell(FIT, KEEP)


@action("compiles again and trains again after training", "right or stops", "before")
def _(home, homes):
    return Kernel("200", home).run(last=FIT).cell(COMPILE, FIT, KEEP)


@action("interrupts training and runs the training cell again", "as without interruption", "before")
def _(home, homes):
    return as_in(homes["done"], Kernel("200", home).run(last=COMPILE).interrupt().run(FIT))


@action("interrupts training, restarts the kernel and runs 200 again", "as without interruption", "before")
def _(home, homes):
    Kernel("200", home).run(last=COMPILE).interrupt().close()
    return as_in(homes["done"], whole("200", home))


@action("interrupts training, compiles again and runs the training cell again", "as without interruption", "before")
def _(home, homes):
    return as_in(homes["done"], Kernel("200", home).run(last=COMPILE).interrupt().run(COMPILE))


@action("interrupts training and goes on with the next cells", "right", "before")
def _(home, homes):
    return Kernel("200", home).run(last=COMPILE).interrupt().run(KEEP)


@action("sets EPOCHS = 5 after training and runs the training cell again", "right or stops", "before")
def _(home, homes):
    kernel = Kernel("200", home).run(last=FIT)
    kernel.parameters["EPOCHS"] = 5
    return kernel.cell("EPOCHS = ", FIT, KEEP)


@action("sets another SEED and runs the cells from the one that builds the model", "right or stops", "before")
def _(home, homes):
    kernel = whole("200", home)
    kernel.parameters["SEED"] = 1
    return kernel.cell("EPOCHS = ").run(BUILD)


@action("sets EPOCHS = 0 and runs 200 again", "stops, earlier files are kept")
def _(home, homes):
    kernel = whole("200", home, EPOCHS=0)
    assert same(home, homes["done"], "weights/*", "cnnmodels/*.h5", "logs/*.csv"), "earlier files are gone or replaced"
    return kernel


@action("has a copy baseline_weights.best.backup.hdf5 among the weights", "right", "before")
def _(home, homes):
    kernel = Kernel("200", home).run(last=FIT)
    best = sorted((home / "weights").glob("baseline*.hdf5"))[-1]
    shutil.copy(best, best.with_name("baseline_weights.best.backup.hdf5"))
    return kernel.run(KEEP)


@action("has a copy of an older file of weights with a higher epoch in its name", "right or stops", "before")
def _(home, homes):
    kernel = Kernel("200", home).run(last=FIT)
    older = sorted((homes["other"] / "weights").glob("*.hdf5"))[0]
    shutil.copy(older, home / "weights/baseline_weights.best.09-0.10.hdf5")
    return kernel.run(KEEP)


# Files of another home that are copied in, and the notebook that is run then.
COPIES = [
    ("copies the results of another baseline into test_results/", "stops", "400", "test_results/*baseline*"),
    ("copies the predictions alone", "stops", "400", "test_results/predictions_baseline_test.csv"),
    (
        "replaces the model by another baseline of the same split",
        "right or stops",
        "300",
        "cnnmodels/baseline_model.h5",
    ),
    ("replaces the model by another baseline with its settings", "stops", "400", "cnnmodels/*"),
    ("copies the settings of another model", "stops", "400", "cnnmodels/baseline_inference.json"),
    ("copies the log of another training", "stops", "300", "logs/baseline_training.csv"),
]


def copy_and_run(number, pattern, home, homes):
    put(homes["other"], home, pattern)
    return whole(number, home)


for copied_files, expected_verdict, next_notebook, files in COPIES:
    action(f"{copied_files}, then runs {next_notebook}", expected_verdict)(partial(copy_and_run, next_notebook, files))


@action("copies the MobileNet over the baseline, then runs 300", "stops")
def _(home, homes):
    shutil.copy(home / "cnnmodels/mobilenet_model.h5", home / "cnnmodels/baseline_model.h5")
    return whole("300", home)


@action("edits the log by hand, then runs 400", "stops")
def _(home, homes):
    log = pd.read_csv(home / "logs/baseline_training.csv")
    log.assign(val_mean_auroc=log.val_mean_auroc + 0.2).to_csv(home / "logs/baseline_training.csv", index=False)
    return whole("400", home)


@action("has training and validation set of one split and the test set of another, then runs 300", "stops")
def _(home, homes):
    whole("100", home, SPLIT="stratified")
    put(homes["done"], home, "subset/train_set.pkl", "subset/valid_set.pkl")
    return whole("300", home)


@action("has the training set of one split and the other sets of another, then runs 200", "stops", "before")
def _(home, homes):
    whole("100", home, SPLIT="stratified")
    put(homes["before"], home, "subset/train_set.pkl")
    if (kernel := whole("200", home)).error:
        return kernel
    return whole("300", home)


@action("interrupts training with another SEED, then runs 200", "as without it", "before")
def _(home, homes):
    Kernel("200", home, SEED=1).run(last=COMPILE).interrupt().close()
    return as_in(homes["done"], whole("200", home))


@action("replaces the label table (Mass and Nodule swapped), then runs 300 without 100", "right or stops")
def _(home, homes):
    table = home / "data" / config.LABEL_TABLES[0]
    swapped = table.read_text().replace("Mass", "?").replace("Nodule", "Mass").replace("?", "Nodule")
    table.write_text(swapped.replace("Nodule|Mass", "Mass|Nodule"))
    return whole("300", home)


@action("deletes 300 images, runs 100, then 300", "stops")
def _(home, homes):
    for path in sorted((home / "data/images").glob("*.png"))[:300]:
        path.unlink()
    whole("100", home)
    return whole("300", home)


@action("replaces the images by others of the same names, then runs 300", "right or stops")
def _(home, homes):
    paths = sorted((home / "data/images").glob("*.png"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    pixels.clear()
    return whole("300", home)


@action("keeps 300 open while 200 trains with another SEED, then runs its cells after the predictions", "stops")
def _(home, homes):
    kernel = Kernel("300", home).run()
    whole("200", home, SEED=1)
    return kernel.run("save_auroc(")


@action("runs 200 with another SEED, interrupts 300 after its predictions, then runs 400", "stops")
def _(home, homes):
    whole("200", home, SEED=1)
    Kernel("300", home).run(last="save_predictions(")
    return whole("400", home)


@action("runs 400 while 300 runs for another model, half of whose tables are written", "stops")
def _(home, homes):
    whole("200", home, SEED=1)
    Kernel("300", home).run(last="choose_thresholds(")
    return whole("400", home)


def prepared(folder):
    """Returns the homes in which actions start, by name."""
    release = phantom.draw_release(folder / "misuse-phantom", PATIENTS)
    homes = {name: folder / f"finished-{number}-{release.name}" for name, number in STARTS.items()}
    if not (homes["done"] / "complete").exists():
        finished(folder, STARTS["done"], release)
        (homes["done"] / "complete").touch()
    homes["other"] = folder / "other"
    if not (homes["other"] / "complete").exists():
        home = copied(homes["before"], homes["other"])
        for kernel in (whole("200", home, SEED=1), whole("300", home)):
            kernel.close()
            if kernel.error:
                raise SystemExit(f"{kernel.number} does not run undisturbed: {kernel.error}")
        (home / "complete").touch()
    for home in homes.values():
        sets = [list(pd.read_pickle(home / "subset" / f"{part}_set.pkl").imgindex) for part in ("train", "valid")]
        trained_on.update({sha256(path): sets for path in home.glob("cnnmodels/*.h5")})
    return homes


def attempt(action, homes, folder):
    """Tries one action. Returns `(verdict, what the pipeline did)`."""
    home = copied(homes[action.start], folder / "home")
    try:
        last = action.function(home, homes)
        said = [f"{k.number}: {k.error}" for k in kernels if k.error and k is not last and "Interrupt" not in k.error]
        lines = dict.fromkeys(line.strip() for k in kernels for line in k.text.splitlines() if MESSAGE.search(line))
        notes = [*said, *list(lines)[-3:]]
        if last.error:
            return "stops", [f"{last.number}: {last.error}", *notes]
        if wrong := audit(home, last.number):
            return "WRONG", [*wrong, *notes]
        return "right", notes
    except AssertionError as error:
        return "WRONG", [str(error), *(f"{kernel.number}: {kernel.error}" for kernel in kernels if kernel.error)]
    except Exception:
        return "script failed", [traceback.format_exc()[-600:]]
    finally:
        while kernels:
            kernels[-1].close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="part of the name of an action")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    homes = prepared(folder)
    rows = []
    for number, each in enumerate(actions, 1):
        if arguments.names and not any(part in each.name for part in arguments.names):
            continue
        start = time.monotonic()
        verdict, said = attempt(each, homes, folder)
        rows.append((number, each, verdict, " / ".join(said).replace("\n", " ").replace("|", "\\|")))
        print(f"{number} {each.name} ({time.monotonic() - start:.0f} s): {verdict}: {rows[-1][-1]}", flush=True)
    print("\n| | a user … | expected | verdict | what the pipeline does |\n|---|---|---|---|---|")
    for number, each, verdict, said in rows:
        print(f"| {number} | {each.name} | {each.expected} | {verdict} | {said} |")
    return int(any(verdict not in ("right", "stops") for _, _, verdict, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
