"""Runs cells of notebooks in kernels, and computes again what notebooks show: for `benchmarks.misuse`."""

import hashlib
import json
import os
import signal

import cv2
import h5py
import keras
import nbformat
import numpy as np
import pandas as pd
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
from sklearn.metrics import roc_auc_score, roc_curve

from benchmarks.interruptions import ENVIRONMENT, PARAMETERS, TRAINING
from cxr_utils import config, run
from cxr_utils.evaluation.metrics import MIN_CASES

SIZE, BATCH = TRAINING["IMAGE_SIZE"], 32
FIT, KEEP = "model.fit(", "training.keep_best("
MODELS = {"baseline": "pdx_base", "mobilenet": "pdx_mobilenet"}
kernels = []  # of the current action
trained_on = {}  # SHA-256 of a model file -> (names of its training images, of its validation images)
pixels = {}  # name of an image -> its pixels


class _ThisPython(KernelManager):
    @property
    def kernel_spec(self):
        return KernelSpec(argv=make_ipkernel_cmd(), language="python")


class Kernel:
    """A kernel for the cells of one notebook; a cell is named by a part of its code.

    Attributes:
        error: the last error as "type: message"; `None` if the cells that ran last raised none.
        text: everything printed.
    """

    def __init__(self, number, home, **parameters):
        self.number, self.home, self.parameters = number, home, PARAMETERS.get(number, {}) | parameters
        book = nbformat.read(next(run.REPOSITORY.glob(f"{number}-*.ipynb")), 4)
        self.cells = [cell for cell in book.cells if cell.cell_type == "code"]
        self.error, self.text, self.busy = None, "", False
        self.manager = _ThisPython()
        release = home.parent / "misuse-phantom"
        environment = ENVIRONMENT | {"CXR_HOME": str(home), "CXR_RELEASE": str(release)}
        self.manager.start_kernel(env=os.environ | environment, cwd=str(run.REPOSITORY))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=300)
        kernels.append(self)

    def _index(self, part):
        return next(index for index, cell in enumerate(self.cells) if part in cell.source)

    def begin(self, part):
        """Starts a cell and returns at once."""
        cell = self.cells[self._index(part)]
        code = cell.source
        if "parameters" in cell.metadata.get("tags", ()):
            code += "".join(f"\n{name} = {value!r}" for name, value in self.parameters.items())
        self.error, self.busy = None, self.client.execute(code)

    def until(self, printed):
        """Waits until the cell has printed this text or has ended (`None`: until it has ended)."""
        start = len(self.text)
        while self.busy and (printed is None or printed not in self.text[start:]):
            message = self.client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") != self.busy:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                self.text += content["text"]
            elif message["msg_type"] == "error":
                self.error = f"{content['ename']}: {content['evalue']}"
            elif content.get("execution_state") == "idle":
                self.busy = False

    def run(self, first=None, last=None):
        """Runs cells in order, from one to another one, both included; stops at an error. Returns the kernel."""
        start = self._index(first) if first else 0
        for cell in self.cells[start : self._index(last) + 1 if last else None]:
            self.begin(cell.source)
            self.until(None)
            if self.error:
                break
            if KEEP in cell.source:
                self._remember()
        return self

    def cell(self, *parts):
        """Runs single cells in the order given, up to an error. Returns the kernel."""
        for part in parts:
            self.run(part, part)
            if self.error:
                break
        return self

    def evaluate(self, expression):
        reply = self.client.execute("", user_expressions={"value": f"__import__('json').dumps({expression})"})
        while (message := self.client.get_shell_msg(timeout=300))["parent_header"].get("msg_id") != reply:
            pass
        return json.loads(eval(message["content"]["user_expressions"]["value"]["data"]["text/plain"]))

    def _remember(self):
        name = self.evaluate("MODEL")
        sets = [self.evaluate(f"list({part}.imgindex)") for part in ("train", "valid")]
        trained_on[sha256(self.home / "cnnmodels" / f"{name}_model.h5")] = sets

    def signal(self, number):
        os.kill(self.manager.provisioner.process.pid, number)

    def train_into_epoch_2(self):
        """Starts the training cell and returns in its second epoch, with the kernel paused."""
        self.begin(FIT)
        self.until("Epoch 2/")
        self.signal(signal.SIGSTOP)
        return self

    def finish(self):
        """Continues a paused cell to its end, and if it raised no error, the rest of the notebook."""
        self.signal(signal.SIGCONT)
        self.until(None)
        return self if self.error else self.run(KEEP)

    def interrupt(self):
        """Interrupts the training cell in its second epoch, as the button of JupyterLab does."""
        self.train_into_epoch_2()
        self.signal(signal.SIGCONT)
        self.manager.interrupt_kernel()
        self.until(None)
        return self

    def close(self):
        kernels.remove(self)
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def images_of(home, frame):
    """Decodes the images of a frame: `(n, SIZE, SIZE, 1)` uint8."""
    for name in set(frame.imgindex) - pixels.keys():
        image = cv2.imread(str(home / "data" / "images" / name), cv2.IMREAD_GRAYSCALE)
        pixels[name] = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.stack([pixels[name] for name in frame.imgindex])[..., None]


def aurocs(y_true, y_prob, least=1):
    """Returns the AUROC of each finding with enough images of both classes, by its label."""
    sums = y_true.sum(axis=0)
    enough = (sums >= least) & (len(y_true) - sums >= least)
    return {n: roc_auc_score(y_true[:, i], y_prob[:, i]) for i, n in enumerate(config.LABELS) if enough[i]}


def wrong_training(home, model, net, sets):
    """Compares a model with its log and with the split; returns what does not agree."""
    path = home / "cnnmodels" / f"{model}_model.h5"
    log = pd.read_csv(home / "logs" / f"{model}_training.csv")
    best = log.loc[log.val_mean_auroc.idxmax()]
    y_true, y_prob = (
        sets["valid"][config.LABELS].to_numpy(float),
        net.predict(images_of(home, sets["valid"]), verbose=0),
    )
    values = aurocs(y_true, y_prob, MIN_CASES) or aurocs(y_true, y_prob)
    found, auroc = [], np.mean([*values.values()])
    if abs(auroc - best.val_mean_auroc) > 0.002:
        found.append(f"log of {model}: best validation AUROC {best.val_mean_auroc:.3f}, its model has {auroc:.3f}")
    known = trained_on.get(sha256(path))
    if known:
        with h5py.File(path) as file:
            steps = []
            file["optimizer_weights"].visititems(
                lambda name, node: steps.append(int(node[()])) if name.endswith(("iteration", "iteration:0")) else None
            )
        epochs = steps[0] / -(-len(known[0]) // BATCH)
        if epochs != best.epoch:
            found.append(f"log of {model}: best epoch {best.epoch:.0f}, its model had {epochs:.2f}")
        leaked = len({*known[0], *known[1]} & {*sets["test"].imgindex})
        if leaked:
            found.append(f"{model}: {leaked} of {len(sets['test'])} test images were training or validation images")
    return found


def wrong_results(home, model, net, sets):
    """Compares the result tables of a model with the model itself; returns what does not agree."""
    found, tables = [], home / "test_results"
    test, y_true = sets["test"], sets["test"][config.LABELS].to_numpy(float)
    p_test = net.predict(images_of(home, test), verbose=0)
    saved = pd.read_csv(tables / f"predictions_{model}_test.csv").set_index("imgindex")[config.LABELS]
    if {*saved.index} != {*test.imgindex} or np.abs(saved.loc[test.imgindex].to_numpy() - p_test).max() > 2e-3:
        found.append(f"predictions_{model}_test.csv is not of the model or the test set")
    table = pd.read_csv(tables / f"auroc_{model}.csv").set_index("label").auroc
    expected = aurocs(y_true, p_test, MIN_CASES)
    if any(not abs(table[name] - value) < 2e-3 for name, value in expected.items()):
        found.append(f"auroc_{model}.csv: mean {table['mean']:.3f}, recomputed {np.mean([*expected.values()]):.3f}")
    means = pd.read_csv(tables / f"test_results_{model}.csv").set_index("label").loc[config.LABELS]
    for column, values in (("dx", y_true), (MODELS[model], p_test)):
        if np.abs(means[column] - 100 * values.mean(axis=0)).max() > 0.1:
            found.append(f"test_results_{model}.csv: wrong {column}")
    y_valid = sets["valid"][config.LABELS].to_numpy(float)
    p_valid = net.predict(images_of(home, sets["valid"]), verbose=0)
    findings = json.loads((home / "cnnmodels" / f"{model}_inference.json").read_text())["findings"]
    worse = 0
    for i, name in enumerate(config.LABELS):
        threshold = findings[name]["youden"]
        if threshold is not None and 0 < y_valid[:, i].sum() < len(y_valid):
            false, true, _ = roc_curve(y_valid[:, i], p_valid[:, i], drop_intermediate=False)
            # As float64: with 3 epochs, predictions of the MobileNet can be neighboring float32 numbers.
            flags, positive = p_valid[:, i].astype(float) >= threshold, y_valid[:, i] == 1
            worse += (true - false).max() - (flags[positive].mean() - flags[~positive].mean()) > 0.02
    if worse:
        found.append(f"{model}_inference.json: {worse} thresholds are not Youden's of this model")
    return found


def audit(home, number):
    """Computes everything again that the notebook with this number shows; returns what does not agree."""
    found, values = [], {}
    sets = {part: pd.read_pickle(home / "subset" / f"{part}_set.pkl") for part in ("train", "valid", "test")}
    models = {"2": "baseline", "3": "baseline"}.get(number[0])
    models = [*MODELS] if number == "400" else ["mobilenet"] if number in ("210", "311") else [models]
    for model in filter(None, models):
        net = keras.models.load_model(home / "cnnmodels" / f"{model}_model.h5", compile=False)
        found += wrong_training(home, model, net, sets)
        if number[0] in "34":
            found += wrong_results(home, model, net, sets)
            y_prob = net.predict(images_of(home, sets["test"]), verbose=0)
            values[model] = aurocs(sets["test"][config.LABELS].to_numpy(float), y_prob, MIN_CASES)
    if number == "400":
        table = pd.read_csv(home / "test_results" / "comparison.csv")
        table = table[table.subset == "all"].set_index("label").difference
        expected = {name: values["mobilenet"][name] - value for name, value in values["baseline"].items()}
        if any(not abs(table[name] - value) < 3e-3 for name, value in expected.items()):
            found.append("comparison.csv: wrong differences")
    return found
