"""What a reader of the results needs to know about a model, on one page of Markdown, and what others report."""

import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils.files import atomic

SPLITS = {"official": "NIH's official split", "patient": "random split by patient", "stratified": "split by image (leaks)"}

# Films of NIH's set that a split keeps.
WHOLE_SET = {"official": 112_120, "patient": 112_120, "stratified": 109_577}

# Mean AUROC of the 14 findings as published, each in the column of its own split: figures of different splits are not alike.
PUBLISHED = [
    ("Wang 2017, ResNet-50", "official", 0.745),
    ("Baltruschat 2019, ResNet-38 with patient data", "official", 0.806),
    ("ResNet-50, ImageNet start", "official", 0.817),
    ("Ark-6 (Swin-B)", "official", 0.8305),
    ("EVA-X-B (may be selected on the test set)", "official", 0.835),
    ("CheXNet (Rajpurkar 2017), DenseNet-121", "patient", 0.841),
    ("this pipeline's forerunner (2019), baseline", "stratified", 0.73),
    ("this pipeline's forerunner (2019), MobileNet", "stratified", 0.80),
]

_USE = """For research and teaching, and as a pre-diagnosis aid that sorts films by urgency where radiologists are short, under a physician who
reads every film. **Never a diagnosis.** Not for children, lateral views, or anything but frontal (PA or AP) chest radiographs."""
_LIMITS = """- The labels were mined from radiology reports. Against radiologists who read films again NIH's label of pneumothorax has a positive
  predictive value of 0.485 and a sensitivity of 0.497, that of nodule or mass 0.565 and 0.454 (Majkowska et al. 2020).
- All films of NIH's set are of one hospital: expect less elsewhere, and test there first.
- PPV and NPV hold at the prevalence of these test films alone. Thresholds were chosen on validation films.
- Intervals say how far chance in the choice of patients reaches, not that of training: another seed gives another model. One without
  width, such as 1.000 (1.000–1.000), says that nothing went wrong on these few films, not that nothing will. On few patients with a
  finding intervals are too narrow: with 10, each on one film, they held the truth in 91 % of simulated sets instead of 95.
- A heat map shows what moved the prediction, not where the disease is."""


def published_table(ours, split, films):
    """Sets mean AUROC as published beside ours, a column for each split.

    Args:
        ours: dict of model → its mean AUROC in words.
        split: a key of `SPLITS`, on which ours were trained and tested.
        films: int, of all three sets. Fewer than the split keeps of NIH's set are other films, with a column of their own.

    Returns:
        Frame of strings indexed by model; empty where a model was not tested on that split.
    """
    here = SPLITS[split] if films >= WHOLE_SET[split] else f"{SPLITS[split]} of these {films:,} films"
    columns = list(dict.fromkeys([*SPLITS.values(), here]))
    rows = [(name, SPLITS[split], f"{value:.4g}".ljust(4, "0")) for name, split, value in PUBLISHED]
    rows += [(name, here, text) for name, text in ours.items()]
    table = pd.DataFrame("", pd.Index([name for name, _, _ in rows], name="model"), columns)
    for name, column, text in rows:
        table.loc[name, column] = text
    return table


def write_model_card(name, what, films, sets, log, tables, sentences):
    """Writes `test_results/model_card_<name>.md`.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        what: what the model is, in words.
        films: where the films come from, in words.
        sets: dict of `"training"`, `"validation"`, `"test"` → frame, as of `metadata.split`.
        log: frame of `logs/<name>_training.csv`.
        tables: dict of heading → frame of results; a number is written with three digits.
        sentences: dict of heading → what is to be said above that table, also without a table.

    Returns:
        `Path` of the card.
    """
    split = SPLITS[sets["test"].attrs["split"]]
    unseen = (~sets["test"].seen).sum()
    best = log.loc[log.val_mean_auroc.idxmax()]
    counts = pd.DataFrame(
        {
            part: {"films": len(frame), "patients": frame.patientID.nunique(), **frame[config.LABELS].sum()}
            for part, frame in sets.items()
        }
    )
    parts = [
        f"# Model card: {what}",
        f"{films}. Written from the results of a run, not by hand.",
        "## Intended use\n\n" + _USE,
        f"## Data and split\n\nSplit: {split}. {unseen:,} of {len(sets['test']):,} test films show a patient in neither training nor validation. "
        f"Films with each finding:\n\n{counts.to_markdown()}",
        f"## Training\n\n{len(log)} epochs; kept is epoch {best.epoch:.0f}, of the highest mean AUROC on validation films ({best.val_mean_auroc:.3f}), "
        "by which plateau and stopping were decided too. Test films had no part in it.",
    ]
    for heading in dict.fromkeys([*tables, *sentences]):
        part = [f"## {heading}", sentences.get(heading, "")]
        if heading in tables:
            known = tables[heading].astype(object)
            # Markdown has one column for the names of rows: of several, each gets one of its own.
            several = known.index.nlevels > 1
            known = known.reset_index() if several else known
            part.append(known.where(known.notna(), None).to_markdown(index=not several, floatfmt=".3f", missingval="n/a"))
        parts.append("\n\n".join(filter(None, part)))
    parts.append("## Limits\n\n" + _LIMITS)
    path = config.home() / "test_results" / f"model_card_{name}.md"
    with atomic(path) as part:
        part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def auroc_columns(everyone, unseen):
    """Sets AUROC, average precision and numbers of films of two tables side by side, as people read them.

    Args:
        everyone: of `evaluation.auroc_table`, on all test films.
        unseen: of `auroc_table`, on films of patients in neither training nor validation.

    Returns:
        Frame of strings indexed by label, `"mean"` and `"flattened"`.
    """
    columns = {}
    for name, table in (("all films", everyone), ("unseen patients", unseen)):
        whole = pd.concat([table, pd.DataFrame({row: table.attrs[row] for row in ("mean", "flattened")}).T])
        columns[f"AUROC, {name}"] = [
            evaluation.with_interval(row.auroc, row.lower, row.upper) for row in whole.itertuples()
        ]
        columns[f"average precision, {name}"] = [
            evaluation.with_interval(row.ap, row.ap_lower, row.ap_upper) for row in whole.itertuples()
        ]
        columns[f"prevalence, {name}"] = [f"{value:.3f}" if value == value else "" for value in whole.prevalence]
        columns[f"films with it, {name}"] = [f"{value:.0f}" if value == value else "" for value in whole.positives]
    return pd.DataFrame(columns, pd.Index([*config.LABELS, "mean", "flattened"], name="label"))


def operating_columns(everyone, unseen):
    """Sets operating points of two tables side by side, as people read them.

    Args:
        everyone: of `decisions.operating_table` with intervals, on all test films.
        unseen: of `operating_table` at the same thresholds, on films of patients in neither training nor validation.

    Returns:
        Frame indexed by label: `threshold` (of predictions before scaling), then strings.
    """
    columns = {"threshold": everyone.threshold}
    for rate in ("sensitivity", "specificity", "ppv", "npv"):
        for name, table in (("all films", everyone), ("unseen patients", unseen)):
            limits = table[[rate, f"{rate}_lower", f"{rate}_upper"]].to_numpy()
            columns[f"{rate}, {name}"] = [evaluation.with_interval(*row, digits=2) for row in limits]
    for count in ("fp_per_1000", "fn_per_1000"):
        for name, table in (("all films", everyone), ("unseen patients", unseen)):
            columns[f"{count}, {name}"] = ["n/a" if value != value else f"{value:.0f}" for value in table[count]]
    return pd.DataFrame(columns, everyone.index)
