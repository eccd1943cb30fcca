"""Going on with a training that was killed or interrupted, as if nothing had happened."""

import hashlib
import json
import random
import zipfile

import keras
import numpy as np

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils.data.splits import split_digest
from cxr_utils.training import devices

# What callbacks count with, and forget when their process dies; Keras' BackupAndRestore does not bring it back.
_COUNTERS = {
    "ReduceLROnPlateau": ["best", "wait", "cooldown_counter"],
    "BestWeights": ["best"],
    "TrainingLog": ["rows"],
    "EarlyStopping": ["best", "best_epoch", "wait", "stopped_epoch"],
}


class Resume(keras.callbacks.Callback):
    """Saves the state of a training after each epoch in `weights/<name>_state.npz`, and goes on from it where there is one.

    The file is whole or not at all, and it is the truth: weights and log rows of an epoch that ended in them but not in it are
    taken back. A training that ends removes it, so the next one of that name starts afresh; so does one with other parameters.

    It must come after the other callbacks: they set their counters to 0 when `fit` begins, and have counted when an epoch ends.

    Args:
        name: `"baseline"` or `"mobilenet"`, begins the artifacts' names.
        batches: `generators.XrayGenerator` that `fit` is given.
        callbacks: list of the other callbacks, with all those of `_COUNTERS`.
    """

    def __init__(self, name, batches, callbacks):
        super().__init__()
        self.model_name = name
        self.batches = batches
        self.callbacks = {kind: next(c for c in callbacks if type(c).__name__ == kind) for kind in _COUNTERS}
        self.path = config.home() / "weights" / f"{name}_state.npz"

    def on_train_begin(self, logs=None):
        # Under TensorFlow it has no slots before the first step.
        self.model.optimizer.build(self.model.trainable_variables)
        self.parameters = self._describe()
        state, values = self._read()
        done = stopped = 0
        goes_on = state is not None and self._is_of_this_training(state)
        devices.wait_for_hosts()  # all have read the file before rank 0 writes it
        if goes_on:
            self._restore(state, values)
            done, stopped = state["epoch"], state["stopped"]
            print(f"{self.model_name}: goes on after epoch {done} of {self.params['epochs']} (killed or interrupted)")
        else:
            self._save(done)
        self.callbacks["TrainingLog"].write()
        if config.rank() == 0:
            self.callbacks["BestWeights"].remove_after(done)
            for folder in ("weights", "logs", "cnnmodels"):
                for left in (config.home() / folder).glob(f".*.part.{self.model_name}_*"):
                    left.unlink()  # of a process that was killed while it wrote
        # As Keras' BackupAndRestore tells `fit`. Early stopping may have ended the training before it was killed.
        self.model._initial_epoch = self.params["epochs"] if stopped else done

    def on_epoch_begin(self, epoch, logs=None):
        # Batches depend on the epoch, and `fit` has counted from wherever the generator stood.
        self.batches.start_epoch(epoch + 1)

    def on_epoch_end(self, epoch, logs=None):
        self._save(epoch + 1)

    def on_train_end(self, logs=None):
        if config.rank() == 0:
            self.path.unlink(missing_ok=True)

    def _variables(self):
        # With the states of the dropout layers' random numbers, which no weights file of Keras holds.
        return self.model.variables + self.model.optimizer.variables

    def _describe(self):
        """Returns what a training is known by; a state of another is not used."""
        # Without the names that Keras counts up in a kernel.
        layers = [layer.get_config() | {"name": type(layer).__name__} for layer in self.model.layers]
        optimizer = self.model.optimizer
        return {
            "split": split_digest(),
            "model": hashlib.md5(json.dumps([self.model.name, layers]).encode()).hexdigest(),
            "optimizer": optimizer.get_config() | {"learning_rate": None, "name": None},
            "learning rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
            "loss": str(self.model.loss),
            "batch size": self.batches.batch_size,
            "seed": self.batches.seed,
            "plateau": self.callbacks["ReduceLROnPlateau"].patience,
            "patience": self.callbacks["EarlyStopping"].patience,
        }

    def _is_of_this_training(self, state):
        if int(self.model.optimizer.iterations) > 0:
            # `fit` was interrupted in this kernel, and plateaus may have lowered the rate since.
            self.parameters["learning rate"] = state["parameters"]["learning rate"]
        other = [name for name, value in self.parameters.items() if state["parameters"].get(name) != value]
        if other:
            print(
                f"{self.model_name}: starts afresh, weights/{self.path.name} is of a training of other {', '.join(other)}"
            )
        return not other

    def _save(self, epoch):
        state = {
            "epoch": epoch,
            "stopped": self.model.stop_training,
            "parameters": self.parameters,
            "counters": {
                kind: {name: getattr(self.callbacks[kind], name) for name in names} for kind, names in _COUNTERS.items()
            },
            # Keras shuffles the order of an epoch's batches by Python's own generator.
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
                return state, [file[f"arr_{number}"] for number in range(len(file.files) - 1)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"weights/{self.path.name}, the state of an unfinished training, can't be read ({error}): delete it to train "
                "from the start."
            ) from error

    def _restore(self, state, values):
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        for kind, counters in state["counters"].items():
            vars(self.callbacks[kind]).update(counters)
        version, numbers, gauss = state["random"]
        random.setstate((version, tuple(numbers), gauss))
