"""Localization: heat maps compared with the bounding boxes that radiologists drew.

NIH's radiologists boxed eight findings on 880 images (Wang et al. 2017, CVPR, section 4). Boxes are in pixels of the
1024×1024 original image, heat maps in pixels of the model's input.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cxr_utils import config


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
        heat: `(n, size, size)` float32 in [0, 1], heat map of each case, computed by `explain.grad_cam`.

    Returns:
        DataFrame indexed by finding (`config.BOXED`, then `"all"`) with `films` (cases: pairs of an image and a boxed
        finding), `patients`, `pointing` with `lower` and `upper` (95 % Wilson score interval, which treats images as
        independent), `share` and `iou` (means over images). All but the counts are in [0, 1]. The five columns from
        `pointing` on are repeated with the prefixes `centre_` and `mean_` for the baselines. NaN for a finding without
        images.

    Raises:
        ValueError: The number of heat maps differs from the number of cases.
    """
    if len(cases) != len(heat):
        raise ValueError(f"Found {len(cases)} cases and {len(heat)} heat maps; expected one heat map per case.")
    size = heat.shape[1]
    center = np.broadcast_to(_center_map(size), heat.shape)
    masks = [box_mask(boxes, size) for boxes in cases.boxes]
    measures = {
        name: np.array([_measure(*pair) for pair in zip(maps, masks, strict=True)]).reshape(-1, 3)
        for name, maps in (("", heat), ("centre_", center), ("mean_", _mean_of_others(heat, cases.label.to_numpy())))
    }
    rows = {}
    for finding in [*config.BOXED, "all"]:
        selected = (cases.label == finding).to_numpy() | (finding == "all")
        row = {"films": selected.sum(), "patients": cases.patientID[selected].nunique()}
        for name, values in measures.items():
            row |= {f"{name}{key}": value for key, value in _summary(values[selected]).items()}
        rows[finding] = row
    return pd.DataFrame.from_dict(rows, "index").astype({"films": int, "patients": int}).rename_axis("label")


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
    """Describes the result of the pointing game and how far heat maps can be used to locate findings.

    Args:
        table: DataFrame returned by `localization_table`.

    Returns:
        str.
    """
    row = table.loc["all"]
    if not row.films:
        return "No test image has a box: the heat maps were not compared with boxes."
    hits, center, mean = (
        f"{100 * row[f'{name}pointing']:.0f} % ({100 * row[f'{name}lower']:.0f}–{100 * row[f'{name}upper']:.0f} %)"
        for name in ("", "centre_", "mean_")
    )
    result = (
        f"{row.films:,.0f} boxed findings of {row.patients:,.0f} patients: the hottest point of the heat map is in the "
        f"box in {hits} of cases (95 % CI). Input-independent baselines: image center {center}, mean heat map of the "
        f"finding {mean}. "
    )
    verdicts = {
        "more often": "The heat maps hit the box more often than both baselines, but miss it in "
        f"{100 * (1 - row.pointing):.0f} % of cases.",
        "less often": "The heat maps hit the box less often than a baseline. Do not use them to locate findings.",
        None: "The 95 % Wilson intervals overlap; they treat images as independent. These images do not show that the "
        "heat maps hit the box more often than the baselines. Do not use them to locate findings.",
    }
    return result + verdicts[compare_with_baselines(row)]


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


def _measure(heat, mask):
    """Returns hit (0 or 1), share of heat and IoU of one map."""
    highest, total = heat.max(), heat.sum()
    if highest <= 0:
        return 0.0, 0.0, 0.0
    hot = heat >= highest / 2
    return mask.flat[heat.argmax()], heat[mask].sum() / total, (hot & mask).sum() / (hot | mask).sum()


def _summary(values):
    """Summarizes the measures `(n, 3)` of n images in five numbers."""
    images = len(values)
    if not images:
        return dict.fromkeys(["pointing", "lower", "upper", "share", "iou"], np.nan)
    pointing, share, iou = values.mean(axis=0)
    interval = binomtest(int(values[:, 0].sum()), images).proportion_ci(method="wilson")
    return {"pointing": pointing, "lower": interval.low, "upper": interval.high, "share": share, "iou": iou}


def _center_map(size):
    distance = (np.arange(size) - (size - 1) / 2) / (size / 4)
    profile = np.exp(-(distance**2) / 2)
    return np.outer(profile, profile)


def _mean_of_others(heat, labels):
    means = np.zeros(heat.shape, np.float64)
    for finding in set(labels):
        selected = labels == finding
        others = max(selected.sum() - 1, 1)
        means[selected] = (heat[selected].sum(axis=0, dtype=np.float64) - heat[selected]) / others
    return means
