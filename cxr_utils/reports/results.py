"""The files of `test_results/`: mean predictions, predictions of every image, AUROC."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils._files import atomic
from cxr_utils._progress import progress

_TOTALS = ("mean", "micro-average")
_WRITERS = {"baseline": "300-testing_baseline", "mobilenet": "311-testing_pretrained_mobilenet"}


def save_table(table, name):
    """Writes a frame as `test_results/<name>.csv`, without its index."""
    with atomic(config.home() / "test_results" / f"{name}.csv") as part:
        table.to_csv(part, index=False)


def save_auroc(everyone, unseen, name, model, images):
    """Writes `test_results/auroc_<name>.csv`: AUROC on all test images and on those of unseen patients, and what was tested.

    Args:
        everyone: of `evaluation.auroc_table`, on all test images.
        unseen: of `auroc_table`, on images of patients in neither training nor validation.
        name: `"baseline"` or `"mobilenet"`.
        model: what the model is, in words.
        images: where the images come from, in words.
    """
    both = []
    for table in (everyone, unseen):
        totals = pd.DataFrame({row: table.attrs[row] for row in _TOTALS}).T.drop(columns="findings")
        both.append(pd.concat([table, totals]))
    table = both[0].join(both[1].add_suffix("_unseen")).assign(model=model, images=images)
    save_table(table.rename_axis("label").reset_index(), f"auroc_{name}")


def load_auroc(name):
    """Reads `test_results/auroc_<name>.csv`.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Returns:
        `(everyone, unseen, model)`: two frames as of `evaluation.auroc_table`, and what the model is, in words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing.
    """
    saved = _read(f"auroc_{name}", name, ["label", "ap", "ap_unseen", "model"]).set_index("label")
    tables = []
    for suffix in ("", "_unseen"):
        columns = [*evaluation.METRICS, "prevalence", "positives", "negatives"]
        table = saved[[column + suffix for column in columns]].set_axis(columns, axis=1)
        findings = {"mean": table.auroc[config.LABELS].notna().sum(), "micro-average": len(config.LABELS)}
        attrs = {row: table.loc[row, evaluation.METRICS].to_dict() | {"findings": findings[row]} for row in _TOTALS}
        table = table.loc[config.LABELS]
        table.attrs = attrs
        tables.append(table)
    return *tables, saved.model.iloc[0]


def save_predictions(frame, batches, name):
    """Writes `test_results/predictions_<name>.csv` as predictions come: `imgindex` and 14 probabilities.

    Args:
        frame: with `imgindex`.
        batches: of `models.predict_batches`, arrays `(b, 14)` in frame order.
        name: such as `"baseline_test"`.

    Returns:
        `(n, 14)` float32, all of them.
    """
    parts, done = [], 0
    with (
        atomic(config.home() / "test_results" / f"predictions_{name}.csv") as part,
        open(part, "w", newline="") as stream,
        progress(total=len(frame), desc="predict", unit=" images") as bar,
    ):
        for batch in batches:
            table = pd.DataFrame(batch, columns=config.LABELS)
            table.insert(0, "imgindex", frame.imgindex.to_numpy()[done : done + len(batch)])
            table.to_csv(stream, index=False, header=not parts)
            parts.append(batch)
            done += len(batch)
            bar.update(len(batch))
    return np.concatenate(parts)


def load_predictions(name, frame):
    """Reads `test_results/predictions_<name>.csv` for the images of a frame.

    Args:
        name: such as `"baseline_test"`.
        frame: with `imgindex`.

    Returns:
        `(n, 14)` float32 in frame order, to the bit as they were saved: a threshold chosen on one is met by it again.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file's images are not those of the frame.
    """
    table = _read(f"predictions_{name}", name.partition("_")[0], ["imgindex", *config.LABELS]).set_index("imgindex")
    if set(table.index) != set(frame.imgindex) or len(table) != len(frame):
        raise ValueError(
            f"test_results/predictions_{name}.csv holds {len(table):,} images, not the {len(frame):,} of this split: "
            "run 300-testing_baseline and 311-testing_pretrained_mobilenet again."
        )
    return table.loc[frame.imgindex, config.LABELS].to_numpy(np.float32)


def load_means(columns):
    """Reads the mean diagnosis and the mean predictions of several models.

    Args:
        columns: dict of model → column of its `test_results_<model>.csv`, such as `{"baseline": "pdx_base"}`.

    Returns:
        Frame indexed by label with `dx` and a column for each model, in % of the test images.

    Raises:
        ValueError: a column is missing, or the models were tested on different images.
    """
    means = None
    for model, column in columns.items():
        table = _read(f"test_results_{model}", model, ["label", "dx", column]).set_index("label")
        if means is None:
            means = table[["dx"]].copy()
        if not table.index.equals(means.index) or not (table.dx - means.dx).abs().max() < 1e-9:
            raise ValueError(
                f"test_results_{model}.csv has other mean diagnoses than the first table: test all models on one split."
            )
        means[model] = table[column]
    return means


def missing(columns):
    """Lists what `test_results/` and `subset/` lack for AUROC and errors, as names of files."""
    wanted = [f"test_results/{kind}.csv" for model in columns for kind in (
        f"auroc_{model}", f"predictions_{model}_valid", f"predictions_{model}_test")]  # fmt: skip
    return [
        name
        for name in [*wanted, "subset/valid_set.pkl", "subset/test_set.pkl"]
        if not (config.home() / name).is_file()
    ]


def _read(name, model, columns):
    path = config.home() / "test_results" / f"{name}.csv"
    again = f"run {_WRITERS.get(model, 'the test notebook')} to write it."
    if not path.is_file():
        raise FileNotFoundError(f"test_results/{name}.csv is missing: {again}")
    table = pd.read_csv(path)
    lost = [column for column in columns if column not in table]
    if lost:
        raise ValueError(f"test_results/{name}.csv has no column {lost}, found {list(table.columns)}: {again}")
    return table
