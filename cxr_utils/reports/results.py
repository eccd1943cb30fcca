"""The tables of `test_results/`: mean predicted risk, AUROC, and the predictions of every image."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils._files import atomic
from cxr_utils._progress import progress

_AVERAGES = ("mean", "micro-average")
_WRITERS = {"baseline": "300-testing_baseline", "mobilenet": "311-testing_pretrained_mobilenet"}


def save_table(table, name):
    """Writes a frame as `test_results/<name>.csv`, without its index."""
    with atomic(config.home() / "test_results" / f"{name}.csv") as part:
        table.to_csv(part, index=False)


def save_auroc(all_images, new_patients, name, model, images):
    """Writes `test_results/auroc_<name>.csv`: AUROC on all test images and on patients not in the development set.

    Args:
        all_images: frame of `evaluation.auroc_table` on all test images.
        new_patients: frame of `evaluation.auroc_table` on images of patients not in the development set. Its columns
            get the suffix `_unseen`.
        name: `"baseline"` or `"mobilenet"`.
        model: str, description of the model, see `models.describe`.
        images: str, source of the images, see `data.image_source`.
    """
    both = []
    for table in (all_images, new_patients):
        averages = pd.DataFrame({row: table.attrs[row] for row in _AVERAGES}).T.drop(columns="findings")
        both.append(pd.concat([table, averages]))
    table = both[0].join(both[1].add_suffix("_unseen")).assign(model=model, images=images)
    save_table(table.rename_axis("label").reset_index(), f"auroc_{name}")


def load_auroc(name):
    """Reads `test_results/auroc_<name>.csv`.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Returns:
        `(all_images, new_patients, model)`: two frames as returned by `evaluation.auroc_table`, on all test images and
        on those of patients not in the development set, and the description of the model.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a column is missing.
    """
    # The column `images` is required only because tables of earlier versions, with other names, lack it.
    saved = _read(f"auroc_{name}", name, ["label", "ap", "ap_unseen", "model", "images"]).set_index("label")
    tables = []
    for suffix in ("", "_unseen"):
        columns = [*evaluation.METRICS, "prevalence", "positives", "negatives"]
        table = saved[[column + suffix for column in columns]].set_axis(columns, axis=1)
        findings = {"mean": table.auroc[config.LABELS].notna().sum(), "micro-average": len(config.LABELS)}
        attrs = {row: table.loc[row, evaluation.METRICS].to_dict() | {"findings": findings[row]} for row in _AVERAGES}
        table = table.loc[config.LABELS]
        table.attrs = attrs
        tables.append(table)
    return *tables, saved.model.iloc[0]


def save_predictions(frame, batches, name):
    """Writes `test_results/predictions_<name>.csv` batch by batch: `imgindex` and 14 probabilities.

    Args:
        frame: frame of n images with `imgindex`.
        batches: iterable of arrays `(b, 14)` in frame order, see `models.predict_batches`.
        name: str, such as `"baseline_test"`.

    Returns:
        `(n, 14)` float32, the predictions of all images.
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
        name: str, such as `"baseline_test"`.
        frame: frame of n images with `imgindex`.

    Returns:
        `(n, 14)` float32 in frame order, bit for bit as saved. An image whose prediction was chosen as a threshold is
        therefore still flagged at this threshold.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the images in the file are not those of the frame.
    """
    table = _read(f"predictions_{name}", name.partition("_")[0], ["imgindex", *config.LABELS]).set_index("imgindex")
    if set(table.index) != set(frame.imgindex) or len(table) != len(frame):
        raise ValueError(
            f"test_results/predictions_{name}.csv has {len(table):,} images, but not exactly the {len(frame):,} images "
            "of this split. Run 300-testing_baseline and 311-testing_pretrained_mobilenet again."
        )
    return table.loc[frame.imgindex, config.LABELS].to_numpy(np.float32)


def load_means(columns):
    """Reads the observed prevalence and the mean predicted risk of several models.

    Args:
        columns: dict of model → column in its `test_results_<model>.csv`, such as `{"baseline": "pdx_base"}`.

    Returns:
        Frame indexed by label, in %: `dx` (observed prevalence) and a column for each model (mean predicted risk).

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a column is missing, or the models were tested on different images.
    """
    means = None
    for model, column in columns.items():
        table = _read(f"test_results_{model}", model, ["label", "dx", column]).set_index("label")
        if means is None:
            means = table[["dx"]].copy()
        if not table.index.equals(means.index) or not (table.dx - means.dx).abs().max() < 1e-9:
            raise ValueError(
                f"test_results/test_results_{model}.csv has another observed prevalence (dx) than the table of the "
                "first model. Test all models on the same split."
            )
        means[model] = table[column]
    return means


def missing_files(columns):
    """Lists the files of `test_results/` and `subset/` that are missing for AUROC and error tables.

    Args:
        columns: dict with the models as keys, see `load_means`.

    Returns:
        List of str, such as `"test_results/auroc_baseline.csv"`.
    """
    kinds = ("auroc_{}", "predictions_{}_valid", "predictions_{}_test")
    required = [f"test_results/{kind.format(model)}.csv" for model in columns for kind in kinds]
    required += ["subset/valid_set.pkl", "subset/test_set.pkl"]
    return [name for name in required if not (config.home() / name).is_file()]


def _read(name, model, columns):
    path = config.home() / "test_results" / f"{name}.csv"
    advice = f"run {_WRITERS.get(model, 'the test notebook')} to write it."
    if not path.is_file():
        raise FileNotFoundError(f"test_results/{name}.csv is missing: {advice}")
    table = pd.read_csv(path)
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"test_results/{name}.csv has no column {absent}, found {list(table.columns)}: {advice}")
    return table
