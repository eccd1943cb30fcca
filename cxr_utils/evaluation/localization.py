"""Localization: heat maps compared with the bounding boxes that radiologists drew.

NIH's radiologists boxed eight findings on 880 images (Wang et al. 2017, CVPR, section 4). Boxes are in pixels of the
1024×1024 original image, heat maps in pixels of the model's input.
"""

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.evaluation import intervals, metrics, resampling

_KEYS = ["pointing", "lower", "upper", "share", "iou"]


def localization_table(cases, heat):
    """Compares heat maps with boxes, and does the same for two input-independent baselines.

    Three measures:

    - Pointing game: the share of images whose hottest point is in a box (Zhang et al. 2018, IJCV, without their
      tolerance of 15 pixels). Any box of the image counts. An image without heat does not count as a hit.
    - Share: the share of an image's heat that is in its boxes.
    - IoU: intersection over union of the boxes and of the pixels with at least half of the maximum heat.

    Two baselines that do not depend on the image:

    - `centre`: a Gaussian around the image center, with a standard deviation of a quarter of the side.
    - `mean`: the mean heat map of the finding over all other images; without another image it is zero everywhere.

    Args:
        cases: DataFrame of n rows, returned by `data.select_cases`.
        heat: `(n, size, size)` float32 in [0, 1], heat map of each case, computed by `explain.layer_cam`.

    Returns:
        DataFrame indexed by finding (`config.BOXED`, then `"all"`) with `films` (cases: pairs of an image and a boxed
        finding), `patients`, `pointing` with `lower` and `upper` (95 % interval, see `intervals.wilson_interval`),
        `share` and `iou` (means over images). All but the counts are in [0, 1]. The five columns from
        `pointing` on are repeated with the prefixes `centre_` and `mean_` for the baselines. NaN for a finding without
        images.

    Raises:
        ValueError: The number of heat maps differs from the number of cases.
    """
    measures, rows = _measures(cases, heat), {}
    for finding in [*config.BOXED, "all"]:
        selected = (cases.label == finding).to_numpy() | (finding == "all")
        summaries = [_summary(values[selected], cases.patientID[selected]) for values in measures.values()]
        rows[finding] = [selected.sum(), cases.patientID[selected].nunique(), *np.ravel(summaries)]
    columns = ["films", "patients", *(f"{name}{key}" for name in measures for key in _KEYS)]
    return pd.DataFrame.from_dict(rows, "index", columns=columns).rename_axis("label")


def localization_differences(cases, heat, flagged):
    """Computes by how much heat maps exceed the two input-independent baselines, on the same images.

    Args:
        cases: see `localization_table`.
        heat: see `localization_table`.
        flagged: `(n,)` bool, whether the model flags the image for the finding of the case.

    Returns:
        DataFrame indexed by group (`"all"`, `"true positives"`, `"false negatives"`) and baseline (`"image center"`,
        `"mean heat map"`) with `images`, `patients`, `pointing` and `iou` (mean difference, heat map − baseline) and
        their 95 % intervals `<measure>_lower` and `<measure>_upper` (patient-level bootstrap of the paired
        differences). NaN for fewer than `metrics.MIN_CASES` patients.

    Raises:
        ValueError: see `localization_table`.
    """
    heat_maps, *baselines = _measures(cases, heat).values()
    rows = {}
    for group, selected in (("all", flagged | True), ("true positives", flagged), ("false negatives", ~flagged)):
        patients = cases.patientID[selected]
        for name, baseline in zip(("image center", "mean heat map"), baselines, strict=True):
            rows[group, name] = {"images": len(patients), "patients": patients.nunique()}
            if patients.nunique() >= metrics.MIN_CASES:
                gain = (heat_maps - baseline)[selected][:, [0, 2]]  # hits and IoU
                limits = resampling.percentile_interval(resampling.bootstrap_share(gain, np.ones_like(gain), patients))
                for measure, *values in zip(("pointing", "iou"), gain.mean(axis=0), *limits, strict=True):
                    rows[group, name] |= dict(
                        zip((measure, f"{measure}_lower", f"{measure}_upper"), values, strict=True)
                    )
    return pd.DataFrame.from_dict(rows, "index").rename_axis(["group", "baseline"])


def compare_with_baselines(row):
    """Compares the hit rate of heat maps in the pointing game with the two input-independent baselines.

    A difference is stated only if the intervals do not overlap. This criterion is conservative: overlapping intervals
    do not show that there is no difference.

    Args:
        row: Series, a row of the table returned by `localization_table`.

    Returns:
        `"more often"` (more hits than both baselines), `"less often"` (fewer hits than at least one baseline), or
        `None` if the intervals overlap.
    """
    if row.lower > np.nanmax([row.centre_upper, row.mean_upper]):
        return "more often"
    if row.upper < np.nanmax([row.centre_lower, row.mean_lower]):
        return "less often"
    return None


def describe_localization(table):
    """States the result of the pointing game, and whether heat maps can be used to locate findings.

    Args:
        table: DataFrame returned by `localization_table`.

    Returns:
        str.
    """
    row = table.loc["all"]
    if not row.films:
        return "No test image has a box: the heat maps were not compared with boxes."
    hits, center, mean = (
        metrics.with_interval(*(100 * row[[f"{name}pointing", f"{name}lower", f"{name}upper"]]), digits=0)
        for name in ("", "centre_", "mean_")
    )
    verdicts = {
        "more often": "More hits than both input-independent baselines (the intervals do not overlap)",
        "less often": "Fewer hits than an input-independent baseline: do not use the heat maps to locate findings",
        None: "Not shown to hit more often than both baselines: do not use the heat maps to locate findings",
    }
    return (
        f"Hottest point in the box, in % of {row.films:,.0f} boxed findings of {row.patients:,.0f} patients (95 % CI): "
        f"heat maps {hits}, image center {center}, mean heat map {mean}. {verdicts[compare_with_baselines(row)]}."
    )


def box_mask(boxes, size):
    """Returns the pixels of an image whose center is in one of its boxes.

    Args:
        boxes: list of `(x, y, w, h)` in pixels of the original image.
        size: int, side of the mask in pixels.

    Returns:
        `(size, size)` bool.
    """
    center = (np.arange(size) + 0.5) * config.ORIGINAL_SIZE / size
    mask = np.zeros((size, size), bool)
    for x, y, w, h in boxes:
        mask |= ((center >= y) & (center < y + h))[:, None] & ((center >= x) & (center < x + w))
    return mask


def _measures(cases, heat):
    """Returns the measures `(n, 3)` of the heat maps (key `""`) and of the baselines (`"centre_"`, `"mean_"`)."""
    if len(cases) != len(heat):
        raise ValueError(f"Found {len(cases)} cases and {len(heat)} heat maps; expected one heat map per case.")
    size = heat.shape[1]
    profile = np.exp(-(((np.arange(size) - (size - 1) / 2) / (size / 4)) ** 2) / 2)
    center = np.broadcast_to(np.outer(profile, profile), heat.shape)
    masks = [box_mask(boxes, size) for boxes in cases.boxes]
    maps = {"": heat, "centre_": center, "mean_": _mean_of_others(heat, cases.label.to_numpy())}
    return {
        name: np.array([_measure(*pair) for pair in zip(values, masks, strict=True)]).reshape(-1, 3)
        for name, values in maps.items()
    }


def _measure(heat, mask):
    """Returns hit (0 or 1), share of heat and IoU of one map."""
    highest, total = heat.max(), heat.sum()
    if highest <= 0:
        return 0.0, 0.0, 0.0
    hot = heat >= highest / 2
    return mask.flat[heat.argmax()], heat[mask].sum() / total, (hot & mask).sum() / (hot | mask).sum()


def _summary(values, patients):
    """Summarizes the measures `(n, 3)` of n images of these patients in the order of `_KEYS`."""
    if not len(values):
        return [np.nan] * len(_KEYS)
    pointing, share, iou = values.mean(axis=0)
    return pointing, *intervals.wilson_interval(values[:, 0], np.ones(len(values)), patients), share, iou


def _mean_of_others(heat, labels):
    means = np.zeros(heat.shape, np.float64)
    for finding in set(labels):
        selected = labels == finding
        means[selected] = (heat[selected].sum(axis=0, dtype=np.float64) - heat[selected]) / max(selected.sum() - 1, 1)
    return means
