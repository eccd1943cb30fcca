"""Which model and which split the files in `test_results/` were computed from.

300 and 311 write `provenance_<model>.json`: the SHA-256 of the model file, the training run, the hash of the split, and
the SHA-256 of each file that they have written since. 400 writes the same for its own tables, with the SHA-256 of both
files of the models, as `provenance_comparison.json`.
"""

import json
from contextlib import contextmanager

import numpy as np
import pandas as pd

from cxr_utils import config, data
from cxr_utils._files import atomic, locked, sha256, write_text
from cxr_utils.reports.inference_settings import load_inference_settings

_COMPARISON = "comparison"
identities = {}  # path of a provenance file → what this process computes its results from, as in the file


def start_results(name, model, sets, transforms=()):
    """Starts the results of a model on a split. Files of another model, split or augmentation are no longer valid.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        model: the `keras.Model`, from `models.load_model`.
        sets: dict of `data.load_split`.
        transforms: `(k, 2, 3)` float, those of the test-time augmentation, see `models.predict`.
    """
    identity = {
        "model_sha256": model.file_sha256,
        "run": model.stamp.get("run"),
        "split": data.split_digest(*sets.values()),
        "transforms": np.asarray(transforms, float).tolist(),
    }
    _start(name, identity)


def start_comparison(models):
    """Checks that the results of several models are of their current files and of the split in `subset/`.

    A model file or split that does not exist, as in copied results, is not compared.

    Args:
        models: list of keys of `config.RISK_COLUMNS`.

    Returns:
        List of the models whose results have no provenance, such as the two tables of 2019.

    Raises:
        ValueError: results are of another model, split or test-time augmentation; the message names the notebook to
            run.
    """
    known = {name: found for name in models if (found := _read(name))}
    splits = {found["split"] for found in known.values()}
    if (config.home() / "subset").is_dir() and known:
        splits.add(data.split_digest(*data.load_split().values()))
    for name, found in known.items():
        model = config.home() / "cnnmodels" / f"{name}_model.h5"
        settings = load_inference_settings(model)
        used = [sha256(model)] if model.is_file() else [] if settings is None else [settings.attrs["model_sha256"]]
        if used not in ([], [found["model_sha256"]]):
            raise ValueError(
                f"The results of {name} in test_results/ were computed with another {model.name} than the one in "
                f"cnnmodels/: run {config.TEST_NOTEBOOKS[name]} again."
            )
        if settings is not None and settings.attrs["transforms"] != found["transforms"]:
            raise ValueError(
                f"The results of {name} in test_results/ were predicted with another TTA than the thresholds in "
                f"{name}_inference.json: run {config.TEST_NOTEBOOKS[name]} again."
            )
    if len(splits) > 1:
        raise ValueError(
            "The results in test_results/ are not all of the split in subset/: run "
            f"{' and '.join(config.TEST_NOTEBOOKS.values())} again."
        )
    _start(_COMPARISON, _of_models(models))
    return [name for name in models if name not in known]


@contextmanager
def recorded(path):
    """Yields a temporary path, like `atomic`, for a file in `test_results/`, and adds the file to the provenance.

    Raises:
        ValueError: another process has since started results of another model or split, or replaced the model file.
    """
    file = _file(_name(path))
    started = identities.get(file, {})
    model = config.home() / "cnnmodels" / f"{_name(path)}_model.h5"
    with locked("results", "the saving of results", wait=True):
        with atomic(path) as part:
            yield part
            stored = _read(_name(path)) or {}
            is_replaced = "model_sha256" in started and model.is_file() and started["model_sha256"] != sha256(model)
            if is_replaced or not started.items() <= stored.items():
                raise ValueError(
                    f"test_results/{path.name} is not written, because another process has replaced the model file, "
                    f"or has started results of another model or split: run {writer(path)} again."
                )
        if started:
            stored["files"][path.name] = sha256(path)
            write_text(file, json.dumps(stored, indent=1))


def check_file(path):
    """Checks that a file in `test_results/` is one of the results that its provenance describes.

    Raises:
        FileNotFoundError: the last run of its notebook has not written it.
        ValueError: it has been changed since, or is of other results; the message names the notebook to run.
    """
    stored = _read(_name(path))
    if stored is None:
        return
    models = [] if _name(path) != _COMPARISON else [key for key in stored if key != "files"]
    if not _of_models(models).items() <= stored.items() or stored["files"].get(path.name) != sha256(path):
        error = ValueError if path.name in stored["files"] else FileNotFoundError
        raise error(
            f"test_results/{path.name} is not from the last run of {writer(path)}, or has been changed since: run that "
            "notebook again."
        )


def load_training_log(name, run=None):
    """Reads `logs/<name>_training.csv`, the log of a training run.

    Args:
        name: `"baseline"` or `"mobilenet"`, or the name of a member of them, see `training.member_names`.
        run: str, the run, `model.stamp["run"]`; if `None`, the run of the model that the results are of, if recorded.

    Returns:
        Frame with one row per epoch. Its `attrs` are the stamp of the training (`training.resume`), empty without one.

    Raises:
        FileNotFoundError: the log does not exist.
        ValueError: the log is that of another run, or has been changed.
    """
    run = run or (_read(name) or {}).get("run")
    path, model = config.home() / "logs" / f"{name}_training.csv", name.partition("_")[0]
    if not path.is_file():
        raise FileNotFoundError(
            f"logs/{path.name} is missing: run {config.TRAINING_NOTEBOOKS[model]} to train the model."
        )
    record = path.with_suffix(".json")
    stamp = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if stamp.get("run") != run or (run and stamp["log_sha256"] != sha256(path)):
        raise ValueError(
            f"logs/{path.name} is not the log of the training that cnnmodels/{model}_model.h5 is from: finish "
            f"{config.TRAINING_NOTEBOOKS[model]}, then run {config.TEST_NOTEBOOKS[model]} again."
        )
    log = pd.read_csv(path)
    log.attrs = stamp
    return log


def _start(name, identity):
    file = _file(name)
    with locked("results", "the saving of results", wait=True):
        if not identity.items() <= (_read(name) or {}).items():
            write_text(file, json.dumps(identity | {"files": {}}, indent=1))
    identities[file] = identity


def _of_models(models):
    """Returns the SHA-256 of the provenance of each model, `None` where there is none."""
    return {name: sha256(_file(name)) if _file(name).is_file() else None for name in models}


def _name(path):
    return next((name for name in config.RISK_COLUMNS if f"_{name}" in path.name), _COMPARISON)


def writer(path):
    """Returns the name of the notebook that writes a file in `test_results/`."""
    return config.TEST_NOTEBOOKS.get(_name(path), config.COMPARISON_NOTEBOOK)


def _file(name):
    return config.home() / "test_results" / f"provenance_{name}.json"


def _read(name):
    """Returns the provenance of a model or of the comparison, `None` if there is none."""
    file = _file(name)
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        dict(stored["files"])
        return stored
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"test_results/{file.name} is damaged: run {writer(file)} to write it again.") from error
