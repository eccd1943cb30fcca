"""Resumes a training run that was killed or interrupted, with the same result as a run without interruption."""

import hashlib
import json
import random
import secrets
import zipfile

import keras
import numpy as np

from cxr_utils import config
from cxr_utils._files import atomic, now
from cxr_utils.data import absent, split_digest
from cxr_utils.models import weights_digest
from cxr_utils.training import artifacts, devices

# The state of the callbacks, which Keras' BackupAndRestore does not restore.
_COUNTERS = {
    "ReduceLROnPlateau": ["best", "wait", "cooldown_counter"],
    "BestWeights": ["best"],
    "EarlyStopping": ["best", "best_epoch", "wait", "stopped_epoch"],
}


class Resume(keras.callbacks.Callback):
    """Saves the state of training after each epoch in `weights/<name>_state.npz` and resumes from that file.

    The file is written atomically and decides which epochs are finished: weights and log rows of any later epoch are
    removed when training resumes. After the last epoch, `artifacts.keep_best` deletes it. A run with other parameters
    starts from scratch; what an earlier run has written is kept until the first epoch has ended.

    When training starts, the model gets the attribute `stamp`, a dict that identifies the run: `run` (random hex
    digits), `started`, `split` and `seed`, `absent` (findings that cannot be learned), the parameters, and the
    `best epoch` so far. The stamp stays with the state and the weights, and in `logs/<name>_training.json`.

    This must be the last callback: the others reset their counters when `fit` begins and update them when an epoch
    ends.

    Args:
        name: str, of `plan.member_names`, the prefix of all file names.
        batches: the `XrayGenerator` that is passed to `fit`.
        sets: `(train, valid)`, the frames of the training and validation images.
        callbacks: list of the other callbacks; those of `_COUNTERS` are resumed, too.

    Raises:
        ValueError: when `fit` begins, if the state file cannot be read, the model has been trained already and there is
            no state to continue from, or the schedule of the learning rate is for another number of epochs.
    """

    def __init__(self, name, batches, sets, callbacks):
        super().__init__()
        self.model_name = name
        self.batches = batches
        self.split, self.absent = split_digest(*sets), absent(sets[0])
        self.callbacks = {type(c).__name__: c for c in callbacks if type(c).__name__ in _COUNTERS}
        self.path = artifacts.state_file(name)
        self.rows = []  # of the log, one per finished epoch

    def on_train_begin(self, logs=None):
        # Under TensorFlow the optimizer has no slot variables before the first step.
        self.model.optimizer.build(self.model.trainable_variables)
        self.parameters = self._describe()
        steps, trained = self.parameters["steps of the schedule"], self.params["epochs"] * len(self.batches)
        if steps not in (None, trained):
            raise ValueError(
                f"The learning rate of {self.model_name} is scheduled for {steps} steps, but EPOCHS and BATCH_SIZE "
                f"give {trained}: run the notebook again from the cell that builds the model."
            )
        state, values = self._read()
        done = stopped = 0
        resumes = state is not None and self._matches(state)
        devices.wait_for_hosts()  # all hosts have read the file before rank 0 writes it
        if resumes:
            self._restore(state, values)
            self.model.stamp, self.rows = self.stamp, state["log"]
            done, stopped = state["epoch"], state["stopped"]
            epochs = max(done, self.params["epochs"])
            print(f"{self.model_name}: resuming an interrupted run after epoch {done} of {epochs}")
            self._publish(done)
        else:
            digest = weights_digest(self.model)
            if hasattr(self.model, "stamp") or getattr(self.model, "initial_digest", digest) != digest:
                raise ValueError(
                    f"This model does not have its initial weights, because it has been trained already. To train "
                    f"{self.model_name} from the start, run the notebook again from the cell that builds the model."
                )
            # Keras shuffles the order of batches with it; what ran before the training must not matter.
            random.seed(self.batches.seed)
            self.model.stamp = {
                "run": secrets.token_hex(8), "started": now(), "absent": self.absent, **self.parameters,
            }  # fmt: skip
        # `fit` starts at this epoch, as with Keras' BackupAndRestore. If early stopping ended the run before it was
        # killed, no epoch is left to train.
        self.model._initial_epoch = self.params["epochs"] if stopped else done

    def on_epoch_begin(self, epoch, logs=None):
        # Batches depend on the epoch, and the generator may have been used before `fit`.
        self.batches.start_epoch(epoch + 1)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **logs})
        self._save(epoch + 1)
        self._publish(epoch + 1)

    def on_train_end(self, logs=None):
        self.model.training_ended = True  # for `artifacts.keep_best`

    def _publish(self, done):
        """Writes the log up to epoch `done`, and removes what is left of other runs and of epochs to train again."""
        if config.rank():
            return
        artifacts.save_log(self.model_name, self.model.stamp, self.rows)
        artifacts.best_weights(self.model_name, self.model.stamp)
        for path, epoch, run in artifacts.weights_files(self.model_name):
            if epoch > done or run != self.model.stamp["run"]:
                path.unlink()

    def _variables(self):
        # They include the random states of the dropout layers, which Keras' weights files do not contain.
        return self.model.variables + self.model.optimizer.variables

    def _describe(self):
        """Returns what identifies a training run; the state of a different run is not used."""
        # Without layer names, because Keras numbers layers continuously within a kernel.
        layers = [layer.get_config() | {"name": type(layer).__name__} for layer in self.model.layers]
        settings = self.model.optimizer.get_config()
        rate = settings["learning_rate"]
        # A schedule is not restored but computed again.
        schedule = rate["config"] if isinstance(rate, dict) else None
        return {
            "split": self.split,
            "model": hashlib.md5(json.dumps([self.model.name, layers]).encode()).hexdigest(),
            "initial weights": getattr(self.model, "initial_weights", None),
            "optimizer": settings | {"learning_rate": None, "name": None},
            "learning rate": (schedule["warmup_target"] or schedule["initial_learning_rate"])
            if schedule
            else float(rate),
            "steps of the schedule": schedule["warmup_steps"] + schedule["decay_steps"] if schedule else None,
            "loss": str(self.model.loss),
            "batch size": self.batches.batch_size,
            "seed": self.batches.seed,
            "plateau": getattr(self.callbacks.get("ReduceLROnPlateau"), "patience", None),
            "patience": getattr(self.callbacks.get("EarlyStopping"), "patience", None),
        }

    def _matches(self, state):
        """Returns whether a state belongs to this training run; prints what differs if not."""
        same = getattr(self.model, "stamp", {}).get("run") == self.stamp["run"]
        if same and self.parameters["steps of the schedule"] is None:
            # `fit` was interrupted in this kernel, and a plateau may have lowered the learning rate since it was
            # compiled.
            self.parameters["learning rate"] = self.stamp["learning rate"]
        if different := [name for name, value in self.parameters.items() if self.stamp.get(name) != value]:
            print(
                f"{self.model_name}: starting from scratch, because weights/{self.path.name} belongs to a run with "
                f"different {', '.join(different)}"
            )
        return not different

    def _save(self, epoch):
        state = {
            "epoch": epoch,
            "stopped": self.model.stop_training,
            "stamp": self.model.stamp,
            "log": self.rows,
            "counters": {
                kind: {name: getattr(callback, name) for name in _COUNTERS[kind]}
                for kind, callback in self.callbacks.items()
            },
            # Keras shuffles the order of batches with Python's own random generator.
            "random": random.getstate(),
        }
        values = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        with atomic(self.path) as part:
            np.savez(part, *values, state=json.dumps(state))

    def _read(self):
        if not self.path.is_file():
            return None, None
        try:
            with np.load(self.path) as file:
                state = json.loads(str(file["state"]))
                self.stamp = state["stamp"]
                return state, [file[f"arr_{number}"] for number in range(len(file.files) - 1)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            if getattr(error, "errno", None):  # it may be readable later
                raise
            raise ValueError(
                f"weights/{self.path.name}, the state of an unfinished training run, cannot be read ({error}): "
                "delete the file to train from scratch."
            ) from error

    def _restore(self, state, values):
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        for kind, counters in state["counters"].items():
            vars(self.callbacks[kind]).update(counters)
        version, numbers, gauss = state["random"]
        random.setstate((version, tuple(numbers), gauss))
