"""Text of the slides on the results. A title states what the numbers and their intervals support."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils.reports import results
from cxr_utils.reports.slides_html import SlideText
from cxr_utils.reports.slides_intro import capitalize, if_written, long_name, percent, seen_share, short_name, synthetic

_NO_TEST = "Checking whether two intervals overlap is not a test of the difference."


@if_written
def model_auroc(model):
    """Returns the text on the mean AUROC of a model and the findings with its highest and lowest AUROC."""
    table, new_patients, _ = results.load_auroc(model)
    known = table.auroc.dropna().sort_values()
    if known.empty:
        return None
    mean = table.attrs["mean"]
    lowest, highest = (f"{known.index[row].replace('_', ' ')}, {known.iloc[row]:.3f}" for row in (0, -1))
    extremes = f"highest for {highest}; lowest for {lowest}"
    return SlideText(
        f"Mean AUROC of {short_name(model)}: {evaluation.with_interval(mean['auroc'], mean['lower'], mean['upper'])}",
        f"{capitalize(long_name(model))}: {extremes}. 0.5 is chance, 1 is perfect. In the title: 95 % CI.",
        "Each ROC curve shows the sensitivity against the false-positive rate at every threshold. The mean AUROC of "
        f"{long_name(model)} is {mean['auroc']:.3f} over {mean['findings']} findings: {extremes}. On patients not in "
        f"the development set: {evaluation.describe_mean(new_patients)}.",
    )


@if_written
def prevalence(columns):
    """Returns the text on mean predicted risk and observed prevalence; `columns` as in `results.load_means`."""
    means, averages, largest = results.load_means(columns), [], []
    for model in columns:
        differences = (means[model] - means.dx).abs()
        finding = differences.idxmax()
        averages.append(f"{short_name(model)} by {differences.mean():.1f}")
        largest.append(
            f"Largest difference of {short_name(model)}: {finding.replace('_', ' ')}, {means[model][finding]:.0f} % "
            f"predicted, {means.dx[finding]:.0f} % observed."
        )
    lines = [
        "In the title: mean absolute difference over the findings.",
        *largest,
        "Equal bars do not mean that images are ranked correctly.",
    ]
    return SlideText(
        f"Predicted risk and prevalence differ: {', '.join(averages)} percentage points",
        "\n".join(lines),
        "The gray bars show the observed prevalence in the test images, the colored bars the mean predicted risk of "
        f"each model. {' '.join(largest)} A model that predicts the same probability for every image could still "
        "have equal bars. The next slides show whether the models rank the images correctly.",
    )


@if_written
def discrimination(first, second, images="all test images"):
    """Returns the text on the mean AUROC of two models; `images` is the start of a value in `comparison.csv`."""
    table = _differences(images)
    mean = table.loc["mean"]
    if np.isnan(mean.difference):
        return None
    subset = "" if images == "all test images" else f" on {images}"
    if mean.significant:
        better = second if mean.difference > 0 else first
        low, high = sorted([mean["first"], mean["second"]])
        result = f"{short_name(better)} has the higher mean AUROC{subset}: {high:.3f} versus {low:.3f}"
    else:
        values = f"{mean['first']:.3f} and {mean['second']:.3f}"
        result = f"mean AUROC {values}{subset}: no statistically significant difference"
    findings = table.difference.notna().sum() - 1
    seen = 0 if subset else seen_share()
    overlap = f"\n{percent(seen)} of these images are of patients with images in the development set." if seen else ""
    return SlideText(
        capitalize(result),
        "AUROC: the probability that an image with the finding gets a higher prediction than one without.\n"
        f"Mean of {findings} findings.\n"
        f"Lines: 95 % intervals by patient-level bootstrap.{overlap}",
        "AUROC is the probability that an image with the finding gets a higher prediction than an image without it; "
        f"0.5 is chance. {capitalize(result)}. The mean of {findings} findings is {mean['first']:.3f} for "
        f"{short_name(first)} and {mean['second']:.3f} for {short_name(second)}. Checking whether the 95 % intervals "
        "overlap is not a test; the paired difference is tested instead.",
    )


@if_written
def difference(first, second):
    """Returns the text on the difference in mean AUROC of two models and its interval."""
    table = _differences("all test images")
    mean, single = table.loc["mean"], table.drop("mean")
    if np.isnan(mean.difference):
        return None
    value = f"{mean.difference:+.3f} ({mean.lower:+.3f} to {mean.upper:+.3f})".replace("-", "−")
    if mean.significant:
        title, zero = f"The difference in mean AUROC is statistically significant: {value}", "excludes 0"
    else:
        title, zero = f"No statistically significant difference in mean AUROC: {value}", "includes 0"
    significant = single[single.significant].difference
    lower, higher = (significant < 0).sum(), (significant > 0).sum()
    counts = f"{short_name(first)} higher for {lower}, {short_name(second)} higher for {higher}"
    each = (
        f"Uncorrected 95 % CI excludes 0, of {single.difference.notna().sum()} findings: {counts}. Without any true "
        "difference, about one in twenty would do so."
    )
    return SlideText(
        title,
        f"{capitalize(short_name(second))} minus {short_name(first)} (95 % CI, paired bootstrap).\n{each}",
        "Both models are evaluated on the same bootstrap resamples of patients, so a difficult resample affects "
        f"both. {capitalize(short_name(second))} minus {short_name(first)} is {value} in mean AUROC. The 95 % "
        f"CI {zero}. {each}",
    )


@if_written
def errors(first, second):
    """Returns the text on the false-negative and false-positive rates at Youden's threshold."""
    false_negatives, false_positives = [], []
    for model in (first, second):
        table = _read(f"operating_{model}").query("`chosen by` == 'youden' and images == 'all test images'")
        known = table.dropna(subset=["sensitivity", "specificity"])
        if known.empty:
            return None
        false_negatives.append(f"{short_name(model)} {percent(1 - known.sensitivity.mean())}")
        false_positives.append(f"{short_name(model)} {percent(1 - known.specificity.mean())}")
    fnr = f"false-negative rate: {', '.join(false_negatives)}"
    fpr = f"false-positive rate: {', '.join(false_positives)}"
    return SlideText(
        f"Mean {fnr}",
        f"Mean {fpr}.\nMeans of {len(known)} findings, at thresholds chosen on validation images (Youden's index).\n"
        "Bars: errors per 1,000 images, per finding; thin lines: 95 % CIs.",
        "An image is flagged for a finding if its probability reaches a threshold, which was chosen on validation "
        f"images. The false-negative rate is the share of images with the finding that are not flagged. Mean {fnr}. "
        f"The false-positive rate is the share of images without the finding that are flagged. Mean {fpr}. A false "
        "positive costs a second look; a false negative can cost more.",
    )


@if_written
def calibration(model):
    """Returns the text on the calibration error of a model before and after calibration."""
    mean = _read(f"calibration_{model}").set_index("label").loc["mean"]
    before, after = 100 * mean["uncalibrated_ece"], 100 * mean["calibrated_ece"]
    if np.isnan(before):
        return None
    brier, reference = mean["calibrated_brier"], mean["calibrated_brier_prevalence"]
    return SlideText(
        f"{capitalize(short_name(model))}: ECE {before:.1f}, calibrated {after:.1f} points",
        "ECE: expected calibration error. On the dotted line, of images with a prediction of 30 %, 30 % have the "
        "finding. "
        f"Brier score, calibrated: {brier:.3f}; always predicting the prevalence: {reference:.3f}. Lower is better.",
        "Of the images with a prediction of 30 percent, do 30 percent have the finding? Each dot is a tenth of the "
        f"images. The mean expected calibration error of {short_name(model)} is {before:.1f} points before and "
        f"{after:.1f} after Platt calibration, fitted on validation images. It keeps the ranking of the images.",
    )


@if_written
def subgroups(model):
    """Returns the text on the false-negative rates of groups of patients and on whether their intervals overlap."""
    table = _read(f"subgroups_{model}")
    table["name"] = np.where(table.kind == "sex", table.group, table.kind + " " + table.group)
    pairs = table[table.findings > 0].merge(table[table.findings > 0], on="kind").query("group_x != group_y")
    separate, start = pairs[pairs.fnr_lower_x > pairs.fnr_upper_y], f"{capitalize(short_name(model))}: "
    if len(separate):
        # Of the pairs whose intervals do not overlap, the one with the largest difference is shown.
        row = separate.loc[(separate.fnr_x - separate.fnr_y).idxmax()]
        rates = f"{percent(row.fnr_x)} for {row.name_x}, {percent(row.fnr_y)} for {row.name_y}"
        title = f"{start}false-negative rate {rates}; intervals do not overlap"
    elif len(pairs):
        title = f"{start}false-negative rates by {', '.join(pairs.kind.unique())}; 95 % CIs overlap"
    else:
        title = "The groups are too small to compare"
    small = table.name[table.findings == 0]
    few = [f"Too few images with enough findings to evaluate: {', '.join(small)}."] if len(small) else []
    return SlideText(
        title,
        "\n".join([*few, f"Groups of a kind are compared on the same findings. {_NO_TEST}"]),
        "Does the model make more errors for some patients? The false-negative rate is the share of findings that "
        f"are not flagged. {' '.join([f'{title}.', *few])} {_NO_TEST} Overlap does not show that groups are alike.",
    )


@if_written
def heat_maps(model):
    """Returns the text on heat maps, boxes and two input-independent baselines."""
    row = _read(f"localisation_{model}").set_index("label").loc["all"]
    separate = evaluation.compare_with_baselines(row)
    title = (
        f"Hottest point in box: {short_name(model)} {percent(row.pointing)}, better input-independent baseline "
        f"{percent(max(row.centre_pointing, row.mean_pointing))}; intervals "
        f"{'do not overlap' if separate else 'overlap'}"
    )
    rates = [
        f"{percent(row[f'{prefix}pointing'])} ({100 * row[f'{prefix}lower']:.0f}–{percent(row[f'{prefix}upper'])})"
        for prefix in ("", "centre_", "mean_")
    ]
    return SlideText(
        title,
        f"Hottest point in the box: {rates[0]}.\n"
        f"Input-independent baselines: image center {rates[1]}, mean heat map of the finding {rates[2]}.\n"
        f"{row.films:.0f} boxed findings of {row.patients:.0f} patients.\n"
        "Shown: first image of each finding. Color: regions that raised the prediction.",
        f"The boxes mark the finding, the colors regions that raised the prediction of {short_name(model)}. We count "
        f"how often the hottest point of the heat map is in the box. {title}. An input-independent baseline ignores "
        "the image: it points at the image center, or at the hottest point of the mean heat map of the finding on "
        f"other images. {_NO_TEST} A heat map on the finding does not show that the prediction is right.",
    )


@if_written
def published():
    """Returns the text and the table of this run and the first and highest published result on each split."""
    table = _read("published", dtype=str).set_index("model").stack().dropna()
    table = table.reset_index().set_axis(["Model", "Split", "Mean AUROC"], axis=1)
    table["Model"] = table.Model.str.replace(" of this pipeline", "")
    table["Mean AUROC"] = table["Mean AUROC"].str.partition(", ")[0]
    value = pd.to_numeric(table["Mean AUROC"].str.partition(" ")[0], errors="coerce")
    ours = table.Model.str.endswith("(this run)")
    if value[ours].isna().any():
        return None
    result = f"mean AUROC in this run: {' and '.join(f'{number:.3f}' for number in value[ours])}"
    same = value[~ours & (table.Split == table.Split[ours].iloc[0])]
    if len(same):
        title = f"Highest listed mean AUROC on this split: {same.max():.3f}; {result}"
    else:
        title = f"No listed result is for these images and this split; {result}"
    table["Split"] = table.Split.str.replace(" of these", ",")  # short enough for a slide
    if synthetic():
        table.loc[ours, "Split"] = table.Split[ours].str.replace(" images", " phantom images")
    others = value[~ours].groupby(table.Split)
    return SlideText(
        title,
        "First and highest result listed for each split. Results on different splits are not comparable.",
        f"How does this compare with published results? {title}. Results on different splits are not comparable: "
        "their test images differ, and with a split by image, test patients can be in the development set.",
        table[ours | table.index.isin([*others.head(1).index, *others.idxmax()])],
    )


def _differences(images):
    """Reads the rows of `test_results/comparison.csv` for these images."""
    table = _read("comparison")
    return table[table.images.str.startswith(images)].set_index("label")


def _read(table, dtype=None):
    return pd.read_csv(config.home() / "test_results" / f"{table}.csv", dtype=dtype)
