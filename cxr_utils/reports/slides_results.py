"""The words of the talk's results. A title states what the numbers allow, or that it can't be told."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation
from cxr_utils.reports import results
from cxr_utils.reports.slides_html import SlideText
from cxr_utils.reports.slides_intro import full, seen_share, short, start, synthetic, where_written


@where_written
def tested(model):
    """States how well a model tells test images apart, and at what it is best and worst."""
    table, unseen, _ = results.load_auroc(model)
    known = table.auroc.dropna().sort_values()
    if known.empty:
        return None
    mean = table.attrs["mean"]
    area = evaluation.with_interval(mean["auroc"], mean["lower"], mean["upper"])
    worst, best = (f"{known.index[at].replace('_', ' ')} ({known.iloc[at]:.2f})" for at in (0, -1))
    others = f"unseen patients alone: {evaluation.describe_mean(unseen)}."
    return SlideText(
        f"{start(short(model))}'s mean AUROC is {area}",
        f"{start(full(model))} is best at {best}, worst at {worst}; 0.5 is guessing, 1 perfect.",
        "Each curve shows how many of the images with a finding are found for how many false alarms. The mean AUROC of "
        f"{full(model)} is {mean['auroc']:.3f} over {mean['findings']} findings, best at {best} and worst at {worst}. On {others}",
    )


@where_written
def prevalence(columns):
    """States how far the mean predictions are from the mean diagnoses; `columns` as of `results.load_means`."""
    means, off, furthest = results.load_means(columns), [], []
    for model in columns:
        away = (means[model] - means.dx).abs()
        far = away.idxmax()
        off.append(f"{short(model)} by {away.mean():.1f}")
        told = f"{means[model][far]:.0f}% for {means.dx[far]:.0f}%"
        furthest.append(f"{start(short(model))} is furthest off at {far.replace('_', ' ')}: {told}.")
    return SlideText(
        f"Mean predictions are off how common a finding is: {', '.join(off)} points",
        "\n".join([*furthest, "Equal bars alone do not show that the right images are found."]),
        f"Gray is how many of the test images have the finding, in color what the networks predict on average. {' '.join(furthest)} A "
        "network that gave every image the same prediction could still have equal bars: whether it finds the right images comes next.",
    )


@where_written
def discrimination(first, second, images="all test images"):
    """States which model tells images apart better, on `"all test images"` or on those of `"unseen patients"`, or that it can't be told."""
    table = _differences(images)
    mean = table.loc["mean"]
    if np.isnan(mean.difference):
        return None
    if mean.significant:
        better = second if mean.difference > 0 else first
        high, low = max(mean["first"], mean["second"]), min(mean["first"], mean["second"])
        told = f"{short(better)} tells images apart better: mean AUROC {high:.3f} against {low:.3f}"
    else:
        told = f"it can't be told which network is better: mean AUROC {mean['first']:.3f} and {mean['second']:.3f}"
    findings = table.difference.notna().sum() - 1
    seen = seen_share() if images == "all test images" else 0
    known = f"\n{seen:.0%} of these images show patients already seen." if seen else ""
    return SlideText(
        start(told if images == "all test images" else f"{images}: {told}"),
        f"AUROC: how often an image with the finding is rated above one without.\nMean over {findings} findings.\n"
        f"Lines: 95% intervals by drawing patients anew.{known}",
        "AUROC is how often an image with the finding is rated above one without; a half is guessing. "
        f"{start(told)}, over {findings} findings on {images}. The lines show how far chance in the choice of patients reaches.",
    )


@where_written
def difference(first, second):
    """States whether the difference of two models is more than noise."""
    table = _differences("all test images")
    mean, single = table.loc["mean"], table.drop("mean")
    if np.isnan(mean.difference):
        return None
    verdict = "is more than noise" if mean.significant else "can't be told from noise"
    told = f"{mean.difference:+.3f} ({mean.lower:+.3f} to {mean.upper:+.3f})".replace("-", "−")
    ahead = single[single.significant].difference
    counts = f"{short(first)} at {(ahead < 0).sum()}, {short(second)} at {(ahead > 0).sum()}"
    each = f"Distinguishably better, of {single.difference.notna().sum()} findings: {counts}. One in twenty would differ by chance alone."
    return SlideText(
        f"The difference {verdict}: mean AUROC {told}",
        f"{start(short(second))} minus {short(first)}, on the same draws of patients.\n{each}",
        "Both networks meet the same draws of patients, so what is hard about a draw cancels out. "
        f"{start(short(second))} minus {short(first)} is {told} in mean AUROC: this {verdict}. {each}",
    )


@where_written
def errors(first, second):
    """States how much is missed and called in vain at Youden's threshold."""
    missed, vain = [], []
    for model in (first, second):
        table = _read(f"operating_{model}").query("`chosen by` == 'youden' and images == 'all images'")
        known = table.dropna(subset=["sensitivity", "specificity"])
        if known.empty:
            return None
        missed.append(f"{short(model)} misses {1 - known.sensitivity.mean():.0%}")
        vain.append(f"{short(model)} {1 - known.specificity.mean():.0%}")
    return SlideText(
        f"Of images with a finding, {missed[0]} and {missed[1]}",
        f"Called in vain, of images without it: {', '.join(vain)}.\n"
        f"Means over {len(known)} findings, at thresholds chosen on validation images (Youden's).\nThin lines: 95% intervals.",
        f"A prediction becomes a call by a threshold, chosen on validation images. Of the images with a finding {missed[0]} and {missed[1]}. "
        f"Called in vain, of images without it: {', '.join(vain)}. A false alarm costs a second look; a missed finding can cost more.",
    )


@where_written
def calibration(model):
    """States how far a model's probabilities are from the shares observed."""
    mean = _read(f"calibration_{model}").set_index("label").loc["mean"]
    raw, scaled = 100 * mean["as predicted_ece"], 100 * mean["scaled on validation images_ece"]
    if np.isnan(raw):
        return None
    brier, floor = mean["scaled on validation images_brier"], mean["scaled on validation images_brier_prevalence"]
    return SlideText(
        f"{start(short(model))} is {raw:.1f} points off, after scaling {scaled:.1f}",
        "On the dotted line, of images given 30%, 30% show the finding. "
        f"Brier score, scaled: {brier:.3f}; always saying how common a finding is: {floor:.3f}. Lower is better.",
        f"May a prediction of 30 percent be believed? Each dot stands for a tenth of the images. As predicted, {short(model)} is off by "
        f"{raw:.1f} percentage points on average. After scaling by two numbers for each finding, fitted on validation images, it is off by "
        f"{scaled:.1f}. Scaling changes no ranking.",
    )


@where_written
def subgroups(model):
    """States between which groups of patients a model's missed findings differ, or that it can't be told."""
    table = _read(f"subgroups_{model}")
    table["name"] = np.where(table.kind == "sex", table.group, table.kind + " " + table.group)
    pairs = table[table.findings > 0].merge(table[table.findings > 0], on="kind").query("group_x != group_y")
    # Where even the intervals lie apart the groups differ; the widest gap of those is told.
    apart = pairs[pairs.fnr_lower_x > pairs.fnr_upper_y]
    if len(apart):
        row = apart.loc[(apart.fnr_x - apart.fnr_y).idxmax()]
        title = f"{start(short(model))} misses more in {row.name_x} than in {row.name_y}: {row.fnr_x:.0%} against {row.fnr_y:.0%}"
    elif len(pairs):
        title = f"It can't be told whether {short(model)} misses more in one group than in another"
    else:
        title = "The groups are too small to be compared"
    small = table.name[table.findings == 0]
    few = [f"Too few images to judge: {', '.join(small)}."] if len(small) else []
    return SlideText(
        title,
        "\n".join(
            [
                *few,
                "Groups of a kind are compared over the same findings; where intervals overlap, these images can't tell.",
            ]
        ),
        f"Does it serve some patients worse? A missed finding is a patient who would be sent home. {' '.join([f'{title}.', *few])} "
        "Intervals that overlap do not show that the groups are alike, only that these images can't tell.",
    )


@where_written
def heat_maps(model):
    """States how often the hottest point of a heat map lies in the box, beside maps that know nothing of the image."""
    row = _read(f"localisation_{model}").set_index("label").loc["all"]
    rates = f"{row.pointing:.0%} hits, a blind map {max(row.centre_pointing, row.mean_pointing):.0%}"
    found = evaluation.compare_with_baselines(row)
    if found:
        title = f"{start(short(model))} looks at the finding {found} than a blind map: {rates}"
    else:
        title = f"Whether {short(model)} looks at the finding can't be told: {rates}"
    maps = {
        "Hits, its hottest point in the box": "",
        "Blind map, the centre": "centre_",
        "Blind map, the finding's mean": "mean_",
    }
    lines = [
        f"{what}: {row[f'{key}pointing']:.0%} ({row[f'{key}lower']:.0%}–{row[f'{key}upper']:.0%})."
        for what, key in maps.items()
    ]
    return SlideText(
        title,
        "\n".join(
            [
                *lines,
                f"{row.films:.0f} boxed findings of {row.patients:.0f} patients.",
                "Shown: the first of each. Color: what raised the prediction; box: the finding.",
            ]
        ),
        f"The boxes show where the finding is, the colors what raised the prediction of {short(model)}. A hit is an image whose hottest "
        f"point lies in the box. {title}. A blind map knows nothing of the image: it points at the centre, or where the network looks on "
        "other images. A map in the right place does not make a prediction right.",
    )


@where_written
def published():
    """Sets this run beside the first and the best result published on each split."""
    table = _read("published", dtype=str).set_index("model").stack().dropna()
    table = table.reset_index().set_axis(["Model", "Split", "Mean AUROC"], axis=1)
    table["Model"] = table.Model.str.replace("this pipeline's ", "")
    table["Mean AUROC"] = table["Mean AUROC"].str.partition(", ")[0]
    value = pd.to_numeric(table["Mean AUROC"].str.partition(" ")[0], errors="coerce")
    ours = table.Model.str.endswith("(this run)")
    if value[ours].isna().any():
        return None
    told = " and ".join(f"{number:.3f}" for number in value[ours])
    same = value[~ours & (table.Split == table.Split[ours].iloc[0])]
    if len(same):
        title = f"On this split the best mean AUROC of those listed is {same.max():.3f}; here it is {told}"
    else:
        title = f"No published figure is of these images and this split; here the mean AUROC is {told}"
    # Other images than NIH's whole set have a split of a long name; on a slide a comma has to do.
    table["Split"] = table.Split.str.replace(" of these", ",")
    if synthetic():
        table.loc[ours, "Split"] = table.Split[ours].str.replace(" images", " phantom images")
    others = value[~ours].groupby(table.Split)
    return SlideText(
        title,
        "First and best result of each split. Only figures of the same split compare.",
        "How does this compare with what others have published? Only figures of the same split compare: a split by image flatters, "
        f"NIH's own is the hardest. {title}.",
        table[ours | table.index.isin([*others.head(1).index, *others.idxmax()])],
    )


def _differences(images):
    """Reads the rows of `test_results/comparison.csv` that are on these images."""
    table = _read("comparison")
    return table[table.images.str.startswith(images)].set_index("label")


def _read(table, dtype=None):
    return pd.read_csv(config.home() / "test_results" / f"{table}.csv", dtype=dtype)
