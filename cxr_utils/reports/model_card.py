"""The model card: intended use, data, training, results and limits of a model on one page of Markdown."""

import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils._files import atomic
from cxr_utils.reports import published

_USE = """The model is for research and teaching. It predicts the probabilities of 14 findings. To
order images by urgency where there are few radiologists is an intended use that has not been evaluated. A physician
still reads every image. **It never makes a diagnosis.** The model is not for children, lateral
views, or any images other than frontal (PA or AP) chest radiographs."""
_LIMITS = """- NIH's labels were extracted from radiology reports by a program. Compared with radiologist-adjudicated
  reference labels, NIH's label of pneumothorax has a positive predictive value of 0.485 and a sensitivity of 0.497, and
  that of nodule or mass 0.565 and 0.454 (Majkowska et al. 2020). Label errors can bias measured performance in
  either direction.
- All NIH images are from one hospital. Performance at another hospital may be lower: test the model there before use.
- PPV and NPV apply only at the prevalence of these test images. Thresholds were chosen on validation images.
- Intervals describe the uncertainty from the sample of test patients, not that from training: another seed gives
  another model. An interval without width, such as 1.000 (1.000–1.000) or 0.00 (0.00–0.00), means that all of these
  few images gave the same result, not that other images will. With few positive patients the intervals are too narrow:
  with 10 patients, one image each, 95 % intervals contained the true value in 91 % of simulated data sets.
- A heat map shows which regions raised the prediction, not where the disease is."""


def write_model_card(name, what, images, sets, log, tables, sentences):
    """Writes `test_results/model_card_<name>.md`.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        what: str, description of the model, see `models.describe`.
        images: str, source of the images, see `data.image_source`.
        sets: dict of `"training"`, `"validation"`, `"test"` → frame of `data.split`.
        log: frame of `logs/<name>_training.csv`.
        tables: dict of heading → frame of results. Numbers are written with three decimals.
        sentences: dict of heading → text above the table of that heading, or text without a table.

    Returns:
        `Path` of the model card.
    """
    split = published.SPLITS[sets["test"].attrs["split"]]
    new_patients = (~sets["test"].seen).sum()
    best = log.loc[log.val_mean_auroc.idxmax()]
    counts = pd.DataFrame(
        {
            part: {"images": len(frame), "patients": frame.patientID.nunique(), **frame[config.LABELS].sum()}
            for part, frame in sets.items()
        }
    )
    parts = [
        f"# Model card: {what}",
        f"{images}. This card was generated from the results of a run.",
        "## Intended use\n\n" + _USE,
        "## Data and split\n"
        "\n"
        f"Split: {split}. The development set is the training set plus the validation set. {new_patients:,} of "
        f"{len(sets['test']):,} test images are of patients not in the development set. Number of images, patients, "
        "and images with each finding:\n"
        "\n"
        f"{counts.to_markdown()}",
        "## Training\n"
        "\n"
        f"The model was trained for {len(log)} epochs. The weights of epoch {best.epoch:.0f} were kept: it has the "
        f"highest mean AUROC on the validation images ({best.val_mean_auroc:.3f}). The same metric controlled the "
        "learning rate and early stopping. Test images were not used.",
    ]
    for heading in dict.fromkeys([*tables, *sentences]):
        part = [f"## {heading}", sentences.get(heading, "")]
        if heading in tables:
            table = tables[heading].astype(object)
            # `to_markdown` writes an index into one column. The levels of a MultiIndex become ordinary columns instead.
            several = table.index.nlevels > 1
            table = table.reset_index() if several else table
            part.append(
                table.where(table.notna(), None).to_markdown(index=not several, floatfmt=".3f", missingval="n/a")
            )
        parts.append("\n\n".join(filter(None, part)))
    parts.append("## Limits\n\n" + _LIMITS)
    path = config.home() / "test_results" / f"model_card_{name}.md"
    with atomic(path) as part:
        part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def auroc_columns(all_images, new_patients):
    """Formats AUROC, average precision and prevalence of two tables as columns next to each other.

    Args:
        all_images: frame of `evaluation.auroc_table` on all test images.
        new_patients: frame of `evaluation.auroc_table` on images of patients not in the development set.

    Returns:
        Frame of str indexed by label, `"macro-average"` and `"micro-average"`.
    """
    columns = {}
    for name, table in _named(all_images, new_patients):
        whole = pd.concat([table, pd.DataFrame({row: table.attrs[row] for row in ("mean", "micro-average")}).T])
        columns[f"AUROC, {name}"] = [
            evaluation.with_interval(row.auroc, row.lower, row.upper) for row in whole.itertuples()
        ]
        columns[f"average precision, {name}"] = [
            evaluation.with_interval(row.ap, row.ap_lower, row.ap_upper) for row in whole.itertuples()
        ]
        columns[f"prevalence, {name}"] = ["" if pd.isna(value) else f"{value:.3f}" for value in whole.prevalence]
        columns[f"images with the finding, {name}"] = [
            "" if pd.isna(value) else f"{value:.0f}" for value in whole.positives
        ]
    return pd.DataFrame(columns, pd.Index([*config.LABELS, "macro-average", "micro-average"], name="label"))


def operating_columns(all_images, new_patients):
    """Formats the operating points of two tables as columns next to each other.

    Args:
        all_images: frame of `evaluation.operating_table` with intervals, on all test images.
        new_patients: frame of `evaluation.operating_table` at the same thresholds, on images of patients not in the
            development set.

    Returns:
        Frame indexed by label: `threshold` (for uncalibrated probabilities), then columns of str.
    """
    columns = {"threshold": all_images.threshold}
    for rate in ("sensitivity", "specificity", "ppv", "npv"):
        for name, table in _named(all_images, new_patients):
            limits = table[[rate, f"{rate}_lower", f"{rate}_upper"]].to_numpy()
            columns[f"{rate}, {name}"] = [evaluation.with_interval(*row, digits=2) for row in limits]
    for count in ("fp_per_1000", "fn_per_1000"):
        for name, table in _named(all_images, new_patients):
            columns[f"{count}, {name}"] = ["n/a" if pd.isna(value) else f"{value:.0f}" for value in table[count]]
    return pd.DataFrame(columns, all_images.index)


def _named(all_images, new_patients):
    """Pairs two tables with the names of their images."""
    return ("all test images", all_images), ("patients not in the development set", new_patients)
