"""What a reader of the results needs to know about a model, on one page of Markdown, and what others report."""

import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils._files import atomic
from cxr_utils.reports import published

_USE = """For research and teaching, and as a pre-diagnosis aid that sorts images by urgency where radiologists are short, under a physician who
reads every image. **Never a diagnosis.** Not for children, lateral views, or anything but frontal (PA or AP) chest radiographs."""
_LIMITS = """- The labels were mined from radiology reports. Against radiologists who read images again NIH's label of pneumothorax has a positive
  predictive value of 0.485 and a sensitivity of 0.497, that of nodule or mass 0.565 and 0.454 (Majkowska et al. 2020).
- All images of NIH's set are of one hospital: expect less elsewhere, and test there first.
- PPV and NPV hold at the prevalence of these test images alone. Thresholds were chosen on validation images.
- Intervals say how far chance in the choice of patients reaches, not that of training: another seed gives another model. One without
  width, such as 1.000 (1.000–1.000), says that nothing went wrong on these few images, not that nothing will. On few patients with a
  finding intervals are too narrow: with 10, each on one image, they held the truth in 91 % of simulated sets instead of 95.
- A heat map shows what moved the prediction, not where the disease is."""


def write_model_card(name, what, images, sets, log, tables, sentences):
    """Writes `test_results/model_card_<name>.md`.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        what: what the model is, in words.
        images: where the images come from, in words.
        sets: dict of `"training"`, `"validation"`, `"test"` → frame, as of `metadata.split`.
        log: frame of `logs/<name>_training.csv`.
        tables: dict of heading → frame of results; a number is written with three digits.
        sentences: dict of heading → what is to be said above that table, also without a table.

    Returns:
        `Path` of the card.
    """
    split = published.SPLITS[sets["test"].attrs["split"]]
    unseen = (~sets["test"].seen).sum()
    best = log.loc[log.val_mean_auroc.idxmax()]
    counts = pd.DataFrame(
        {
            part: {"images": len(frame), "patients": frame.patientID.nunique(), **frame[config.LABELS].sum()}
            for part, frame in sets.items()
        }
    )
    parts = [
        f"# Model card: {what}",
        f"{images}. Written from the results of a run, not by hand.",
        "## Intended use\n\n" + _USE,
        f"## Data and split\n\nSplit: {split}. {unseen:,} of {len(sets['test']):,} test images show a patient in neither training nor validation. "
        f"Images with each finding:\n\n{counts.to_markdown()}",
        f"## Training\n\n{len(log)} epochs; kept is epoch {best.epoch:.0f}, of the highest mean AUROC on validation images ({best.val_mean_auroc:.3f}), "
        "by which plateau and stopping were decided too. Test images had no part in it.",
    ]
    for heading in dict.fromkeys([*tables, *sentences]):
        part = [f"## {heading}", sentences.get(heading, "")]
        if heading in tables:
            known = tables[heading].astype(object)
            # Markdown has one column for the names of rows: of several, each gets one of its own.
            several = known.index.nlevels > 1
            known = known.reset_index() if several else known
            part.append(
                known.where(known.notna(), None).to_markdown(index=not several, floatfmt=".3f", missingval="n/a")
            )
        parts.append("\n\n".join(filter(None, part)))
    parts.append("## Limits\n\n" + _LIMITS)
    path = config.home() / "test_results" / f"model_card_{name}.md"
    with atomic(path) as part:
        part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def auroc_columns(everyone, unseen):
    """Sets AUROC, average precision and numbers of images of two tables side by side, as people read them.

    Args:
        everyone: of `evaluation.auroc_table`, on all test images.
        unseen: of `auroc_table`, on images of patients in neither training nor validation.

    Returns:
        Frame of strings indexed by label, `"mean"` and `"micro-average"`.
    """
    columns = {}
    for name, table in (("all images", everyone), ("unseen patients", unseen)):
        whole = pd.concat([table, pd.DataFrame({row: table.attrs[row] for row in ("mean", "micro-average")}).T])
        columns[f"AUROC, {name}"] = [
            evaluation.with_interval(row.auroc, row.lower, row.upper) for row in whole.itertuples()
        ]
        columns[f"average precision, {name}"] = [
            evaluation.with_interval(row.ap, row.ap_lower, row.ap_upper) for row in whole.itertuples()
        ]
        columns[f"prevalence, {name}"] = [f"{value:.3f}" if value == value else "" for value in whole.prevalence]
        columns[f"images with it, {name}"] = [f"{value:.0f}" if value == value else "" for value in whole.positives]
    return pd.DataFrame(columns, pd.Index([*config.LABELS, "mean", "micro-average"], name="label"))


def operating_columns(everyone, unseen):
    """Sets operating points of two tables side by side, as people read them.

    Args:
        everyone: of `decisions.operating_table` with intervals, on all test images.
        unseen: of `operating_table` at the same thresholds, on images of patients in neither training nor validation.

    Returns:
        Frame indexed by label: `threshold` (of predictions before scaling), then strings.
    """
    columns = {"threshold": everyone.threshold}
    for rate in ("sensitivity", "specificity", "ppv", "npv"):
        for name, table in (("all images", everyone), ("unseen patients", unseen)):
            limits = table[[rate, f"{rate}_lower", f"{rate}_upper"]].to_numpy()
            columns[f"{rate}, {name}"] = [evaluation.with_interval(*row, digits=2) for row in limits]
    for count in ("fp_per_1000", "fn_per_1000"):
        for name, table in (("all images", everyone), ("unseen patients", unseen)):
            columns[f"{count}, {name}"] = ["n/a" if value != value else f"{value:.0f}" for value in table[count]]
    return pd.DataFrame(columns, everyone.index)
