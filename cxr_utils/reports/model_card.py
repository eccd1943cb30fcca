"""The model card: intended use, data, training, results and limits of a model in one file of Markdown."""

import pandas as pd

from cxr_utils import config, data, evaluation
from cxr_utils.reports import published
from cxr_utils.reports.provenance import recorded

_USE = {  # whether it was trained on the phantom → its use
    False: """The model is for research and teaching. It predicts the probabilities of 14 findings. To
order images by urgency where there are few radiologists is an intended use that has not been evaluated. A physician
still reads every image. **It never makes a diagnosis.** The model is not for lateral views or any images other than
frontal (PA or AP) chest radiographs, and not for children: 5,402 of NIH's 112,120 images are of patients under 18,
too few to train for them.""",
    True: """The model was trained on synthetic images (phantom). It shows that the pipeline works, and it has
**no clinical use**: what it predicts for an X-ray of a patient means nothing. **It never makes a diagnosis.**""",
}
_OPERATING = {
    "threshold": "threshold (uncalibrated)",
    "sensitivity": "sensitivity (95 % CI)",
    "specificity": "specificity (95 % CI)",
    "ppv": "PPV (95 % CI)",
    "npv": "NPV (95 % CI)",
    "fp_per_1000": "false positives per 1,000 (95 % CI)",
    "fn_per_1000": "false negatives per 1,000 (95 % CI)",
}
_LIMITS = """- NIH's labels were extracted from radiology reports by a program. Compared with radiologist-adjudicated
  reference labels of 1,962 images (test part of Majkowska et al. 2020), NIH's label of pneumothorax has a positive
  predictive value of 0.485 (95 % CI 0.402–0.562) and a sensitivity of 0.497 (0.424–0.571), that of nodule or mass 0.565
  (0.492–0.636) and 0.454 (0.391–0.517), and consolidation, infiltration, edema and pneumonia together, compared with
  airspace opacity, 0.808 (0.772–0.843) and 0.448 (0.415–0.478). Label errors can bias measured
  performance in either direction.
- All NIH images are from one hospital. Performance at another hospital may be lower: test the model there before use.
- The micro-average pools all pairs of an image and a finding. Knowing which findings are frequent already raises it: do
  not compare it with a mean over the findings.
- PPV and NPV apply only at the prevalence of these test images. Thresholds were chosen on validation images.
- Intervals describe the uncertainty from the sample of test patients, not that from training: another seed gives
  another model. With few patients with a finding they are approximate; how often they contain the true value can be
  simulated (`benchmarks/coverage.py`).
- A heat map shows which regions raised the prediction, not where the disease is."""


def write_model_card(name, what, images, sets, stamp, log, results, tables):
    """Writes `test_results/model_card_<name>.md`.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        what: str, description of the model, see `models.describe`.
        images: str, source of the images, see `data.image_source`.
        sets: dict of `"training"`, `"validation"`, `"test"` → frame of `data.split`.
        stamp: dict, `model.stamp`, what the model file states about its training.
        log: frame of `load_training_log`.
        results: list of str, the main results in sentences.
        tables: dict of heading → frame of results. Numbers are written with three decimals.

    Returns:
        `Path` of the model card.
    """
    split = published.SPLITS[sets["test"].attrs["split"]]
    new_patients = (~sets["test"].seen).sum()
    counts = pd.DataFrame(
        {
            part: {"images": len(frame), "patients": frame.patientID.nunique(), **frame[config.LABELS].sum()}
            for part, frame in sets.items()
        }
    )
    parts = [
        f"# Model card: {what}",
        f"{images}. This card was generated from the results of a run.",
        f"## Intended use\n\n{_USE[data.is_phantom()]}",
        "## Data and split\n"
        "\n"
        f"Split: {split}. The development set is the training set plus the validation set. {new_patients:,} of "
        f"{len(sets['test']):,} test images are of patients not in the development set. Number of images, patients, "
        "and images with each finding:\n"
        "\n"
        f"{counts.to_markdown()}\n\n{data.absent_findings(sets)}".rstrip(),
        f"## Training\n\n{_describe_training(stamp, log)}",
        "## Results on test images\n\n" + "\n".join(f"- {sentence}" for sentence in results),
    ]
    for heading, table in tables.items():
        # `to_markdown` writes an index into one column. The levels of a MultiIndex become ordinary columns instead.
        several = table.index.nlevels > 1
        table = table.reset_index() if several else table
        table = table.astype(object).where(table.notna(), None)
        parts.append(f"## {heading}\n\n{table.to_markdown(index=not several, floatfmt='.3f', missingval='n/a')}")
    synthetic = "- These images are synthetic (phantom): no result applies to patients. The rest is about NIH's.\n"
    parts.append("## Limits\n\n" + synthetic * data.is_phantom() + _LIMITS)
    path = config.home() / "test_results" / f"model_card_{name}.md"
    with recorded(path) as part:
        part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _describe_training(stamp, log):
    """Returns the paragraph of the model card about training, see `write_model_card`."""
    best, members = log.loc[log.val_mean_auroc.idxmax()], stamp.get("members", [])
    sentences = [
        f"The model was trained for {len(log)} epochs. The weights of epoch {best.epoch:.0f} were kept: it has the "
        f"highest mean AUROC on the validation images ({best.val_mean_auroc:.3f})."
    ]
    if members:
        sentences.append(
            f"It averages the logits of {len(members)} networks, trained with different seeds; these epochs are those "
            "of the first one."
        )
    if stamp.get("steps of the schedule"):
        sentences.append("The learning rate rose during the first tenth of the steps, then fell along a cosine.")
    else:
        sentences.append("The same metric controlled the learning rate and early stopping.")
    if weights := stamp.get("initial weights"):
        sentences.append("Training started from the weights in {file} (SHA-256 {sha256}).".format(**weights))
    return " ".join([*sentences, "Test images were not used."])


def auroc_columns(table):
    """Formats AUROC and average precision with their intervals, and the prevalence, for readers.

    Args:
        table: frame of `evaluation.auroc_table`.

    Returns:
        Frame of str indexed by label, `"macro-average"` and `"micro-average"`.
    """
    averages = {"macro-average": table.attrs["mean"], "micro-average": table.attrs["micro-average"]}
    table = pd.concat([table, pd.DataFrame(averages).T]).rename_axis("label")
    limits = {"AUROC": ["auroc", "lower", "upper"], "average precision": ["ap", "ap_lower", "ap_upper"]}
    shown = {f"{name} (95 % CI)": _intervals(table[columns], digits=3) for name, columns in limits.items()}
    shown["prevalence"] = table.prevalence.map("{:.3f}".format, na_action="ignore")
    for unit, counts in (("images", table.positives), ("patients", table.positive_patients)):
        shown[f"{unit} with the finding"] = counts.map("{:.0f}".format, na_action="ignore")
    return pd.DataFrame(shown).fillna("")


def operating_columns(table, columns=tuple(_OPERATING), prevalence=None):
    """Formats the operating points of a model for readers.

    Args:
        table: frame of `evaluation.operating_table` with intervals.
        columns: names of columns of `table`: `threshold`, `sensitivity`, `specificity`, `ppv`, `npv`, `fp_per_1000`,
            `fn_per_1000`.
        prevalence: float in (0, 1) at which PPV and NPV are added, or `None`.

    Returns:
        Frame indexed by label with a heading for each of these columns; all but the threshold are str.
    """
    shown = {"threshold": table.threshold}
    for rate in [*_OPERATING][1:]:
        shown[rate] = _intervals(table[[rate, f"{rate}_lower", f"{rate}_upper"]], digits=0 if "1000" in rate else 2)
    shown = pd.DataFrame(shown)[[*columns]].rename(columns=_OPERATING)
    if prevalence is not None:
        elsewhere = evaluation.at_prevalence(table, prevalence)
        for rate in ("ppv", "npv"):
            heading = f"{rate.upper()} at a prevalence of {100 * prevalence:g} % (95 % CI)"
            shown[heading] = _intervals(elsewhere[[rate, f"{rate}_lower", f"{rate}_upper"]], digits=3)
    return shown


def per_image_columns(tables):
    """Formats errors per image for readers.

    Args:
        tables: dict of name → frame of `evaluation.per_image_table`.

    Returns:
        Frame of str indexed by the measure in words, with a column for each table: value and 95 % interval.
    """
    shown = {name: _intervals(table[["value", "lower", "upper"]], digits=2) for name, table in tables.items()}
    return pd.DataFrame(shown).rename(evaluation.PER_IMAGE).rename_axis(None)


def _intervals(limits, digits):
    """Returns a Series of str for a frame of three columns: value, lower and upper limit."""
    return pd.Series(
        [evaluation.with_interval(*row, digits=digits) for row in limits.to_numpy(float)], limits.index, dtype=object
    )
