"""The tables of `test_results/`: mean predicted risk, AUROC, and the predictions of every image."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils._progress import progress
from cxr_utils.data.tables import require_columns
from cxr_utils.reports.provenance import check_file, recorded, writer

_AVERAGES = ("mean", "micro-average")


def save_table(table, name):
    """Writes a frame as `test_results/<name>.csv`, without its index."""
    with recorded(config.home() / "test_results" / f"{name}.csv") as part:
        table.to_csv(part, index=False)


def load_table(name, columns=(), index=("label",), **keys):
    """Reads `test_results/<name>.csv`, or the rows of it that have the given keys.

    Args:
        name: str, such as `"comparison"` or `"operating_baseline"`.
        columns: names of columns that must be there besides `index` and `keys`.
        index: names of the columns that become the index.
        **keys: column → value of the rows to read, such as `rule="youden", subset="all"`.

    Returns:
        Frame without the columns of `keys`. It has no rows if none has these keys.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a column is missing, or the file is of an earlier run.
    """
    path = config.home() / "test_results" / f"{name}.csv"
    advice = f"Run {writer(path)} to write it."
    if not path.is_file():
        raise FileNotFoundError(f"test_results/{name}.csv is missing. {advice}")
    check_file(path)
    table = pd.read_csv(path)
    require_columns(table, [*keys, *index, *columns], f"test_results/{name}.csv", advice)
    return table[(table[[*keys]] == [*keys.values()]).all(axis=1)].drop(columns=[*keys]).set_index([*index])


def save_auroc(auroc, name, model, images):
    """Writes `test_results/auroc_<name>.csv`: AUROC on all test images and on patients not in the development set.

    Args:
        auroc: dict of key of `config.SUBSETS` → frame of `evaluation.auroc_table`. Without `"new_patients"`, all test
            images are of such patients. The columns of the second table get the suffix `_unseen`.
        name: `"baseline"` or `"mobilenet"`.
        model: str, description of the model, see `models.describe`.
        images: str, source of the images, see `data.image_source`.
    """
    both = [
        pd.concat([table, pd.DataFrame({row: table.attrs[row] for row in _AVERAGES}).T.drop(columns="findings")])
        for table in (auroc["all"], auroc.get("new_patients", auroc["all"]))
    ]
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
    counts = ["positives", "negatives", "positive_patients", "negative_patients"]
    # The columns of the patients and `images` are required only because tables of earlier versions lack them.
    saved = load_table(f"auroc_{name}", [*counts, "ap", "ap_unseen", "model", "images"])
    columns, tables = [*evaluation.METRICS, "prevalence", *counts], []
    for suffix in ("", "_unseen"):
        table = saved[[column + suffix for column in columns]].set_axis(columns, axis=1)
        tables.append(table.loc[config.LABELS])
        tables[-1].attrs = {
            row: table.loc[row, evaluation.METRICS].to_dict() | {"findings": table.auroc[config.LABELS].count()}
            for row in _AVERAGES
        }
    return *tables, saved.model.iloc[0]


def save_predictions(frame, batches, name):
    """Writes `test_results/predictions_<name>.csv`: `imgindex` and 14 probabilities.

    Args:
        frame: frame of n images with `imgindex`.
        batches: iterable of arrays `(b, 14)` in frame order, see `models.predict_batches`.
        name: str, such as `"baseline_test"`.

    Returns:
        `(n, 14)` float32, the predictions of all images.
    """
    parts = []
    with progress(total=len(frame), desc="predict", unit=" images") as bar:
        for batch in batches:
            parts.append(batch)
            bar.update(len(batch))
    y_prob = np.concatenate(parts)
    save_table(pd.DataFrame(y_prob, pd.Index(frame.imgindex), config.LABELS).reset_index(), f"predictions_{name}")
    return y_prob


def load_predictions(name, frame):
    """Reads `test_results/predictions_<name>.csv` for the images of a frame.

    Args:
        name: str, such as `"baseline_test"`.
        frame: frame of n images with `imgindex`.

    Returns:
        `(n, 14)` float32 in frame order, bit for bit as saved.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the images in the file are not those of the frame.
    """
    table = load_table(f"predictions_{name}", config.LABELS, index=["imgindex"])
    if set(table.index) != set(frame.imgindex) or len(table) != len(frame):
        raise ValueError(
            f"test_results/predictions_{name}.csv has {len(table):,} images, but not exactly the {len(frame):,} images "
            f"of this split. Run {' and '.join(config.TEST_NOTEBOOKS.values())} again."
        )
    return table.loc[frame.imgindex, config.LABELS].to_numpy(np.float32)


def load_means(models):
    """Reads the observed prevalence and the mean predicted risk of several models.

    Args:
        models: list of keys of `config.RISK_COLUMNS`.

    Returns:
        Frame indexed by label, in %: `dx` (observed prevalence) and a column for each model (mean predicted risk).

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a column is missing, or the models were tested on different images.
    """
    tables = {model: load_table(f"test_results_{model}", ["dx", config.RISK_COLUMNS[model]]) for model in models}
    observed = pd.DataFrame({model: table.dx for model, table in tables.items()})
    # A label that only one of the tables has is NaN here, which differs from every number.
    different = observed.columns[~observed.sub(observed[models[0]], axis=0).abs().lt(1e-9).all()]
    if len(different):
        raise ValueError(
            f"test_results/test_results_{different[-1]}.csv has another observed prevalence (dx) than the table of the "
            "first model. Test all models on the same split."
        )
    return pd.DataFrame({"dx": observed[models[0]], **{m: t[config.RISK_COLUMNS[m]] for m, t in tables.items()}})


def describe_seeds(names):
    """States what the intervals cover, and the standard deviation over training seeds where several were trained.

    Args:
        names: dict of key of `config.RISK_COLUMNS` → name of the model. The networks of a model, each trained with
            another seed, are in `test_results/seeds_<model>.csv`.

    Returns:
        str.
    """
    found = []
    for model, name in names.items():
        try:
            spread = load_table(f"seeds_{model}", index=["member"]).val_mean_auroc.agg(["std", "count"])
            found.append("{} {:.3f} ({:.0f} seeds)".format(name, *spread))
        except FileNotFoundError:
            continue
    return (
        "Intervals cover the sample of test patients, not the training"
        + "; SD over training seeds, validation mean AUROC: " * bool(found)
        + ", ".join(found)
        + "."
    )


def missing_files():
    """Lists the files of both models that are missing for AUROC and error tables.

    Returns:
        List of str, such as `"test_results/auroc_baseline.csv"`.
    """
    of_model = ("test_results/auroc_{}.csv", "test_results/predictions_{}_test.csv", "cnnmodels/{}_inference.json")
    required = [name.format(model) for model in config.RISK_COLUMNS for name in of_model]
    required += [f"subset/{part}_set.pkl" for part in ("train", "valid", "test")]
    return [name for name in required if not (config.home() / name).is_file()]
