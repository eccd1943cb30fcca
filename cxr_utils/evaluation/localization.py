"""Whether a model looks where radiologists saw the finding: heat maps against their boxes.

NIH's radiologists boxed eight findings on 880 images (Wang et al. 2017, CVPR, section 4). A box is in pixels of the 1024×1024
original, a heat map in pixels of the image that the model takes.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cxr_utils import config


def localization_table(cases, heat):
    """Compares heat maps with boxes, beside two maps that know nothing of the image.

    Three measures: the pointing game, the share of images whose hottest point lies in a box (Zhang et al. 2018, IJCV, without
    their tolerance of 15 pixels); the share of an image's heat in its boxes; and the IoU, intersection over union, of
    the boxes and the places at least half as hot as the hottest. A hit in any box of an image counts; an image without heat is a miss.

    The two to beat: `centre`, a Gaussian about the image's centre with a quarter of its side as deviation, and `mean`, the mean
    heat of the finding on all other images (none where there is only one): where the model looks whatever the image shows.

    Args:
        cases: frame of `select_cases`, n rows.
        heat: `(n, size, size)` float32 in [0, 1], of `explain.grad_cam` for image and finding of each case.

    Returns:
        Frame indexed by finding, `config.BOXED` and `"all"`, with `films` (images), `patients`; `pointing` with `lower` and `upper` (95 %
        interval by Wilson's score, in which each image counts as independent), `share` and `iou` (means over images), all in [0, 1];
        the same five with `centre_` and `mean_` before their names. NaN where there is no image.

    Raises:
        ValueError: the numbers of cases and of maps differ.
    """
    if len(cases) != len(heat):
        raise ValueError(f"{len(cases)} cases and {len(heat)} heat maps: expected one map for each case.")
    size = heat.shape[1]
    centre = np.broadcast_to(_centred(size), heat.shape)
    inside = [box_mask(boxes, size) for boxes in cases.boxes]
    measured = {
        name: np.array([_measure(*pair) for pair in zip(maps, inside)]).reshape(-1, 3)
        for name, maps in (("", heat), ("centre_", centre), ("mean_", _mean_of_others(heat, cases.label.to_numpy())))
    }
    rows = {}
    for finding in [*config.BOXED, "all"]:
        some = (cases.label == finding).to_numpy() | (finding == "all")
        row = {"films": some.sum(), "patients": cases.patientID[some].nunique()}
        for name, values in measured.items():
            row |= {f"{name}{key}": value for key, value in _summary(values[some]).items()}
        rows[finding] = row
    return pd.DataFrame.from_dict(rows, "index").astype({"films": int, "patients": int}).rename_axis("label")


def compare_with_baselines(row):
    """Says how often maps find the place, compared with maps that know nothing of the image.

    The intervals take images as independent and are not paired, so that only intervals apart are a reason to claim anything.

    Args:
        row: of a table of `localization_table`.

    Returns:
        `"more often"`, `"less often"`, or `None` where these images can't tell.
    """
    if row.lower > np.nanmax([row.centre_upper, row.mean_upper]):
        return "more often"
    if row.upper < np.nanmax([row.centre_lower, row.mean_lower]):
        return "less often"
    return None


def describe_localization(table):
    """Says what a table of `localization_table` allows to believe of the maps."""
    row = table.loc["all"]
    if not row.films:
        return "No image with a box: nothing says whether the maps point to the right place."
    told = (
        f"{row.films:,.0f} boxed findings of {row.patients:,.0f} patients: the map's hottest point lies in the box on {row.pointing:.0%} "
        f"({row.lower:.0%}–{row.upper:.0%}), the image centre on {row.centre_pointing:.0%}, the hottest point of the finding's mean map on "
        f"{row.mean_pointing:.0%}"
    )
    found = compare_with_baselines(row)
    if found:
        return (
            told
            + f": the maps find the place {found} than what knows nothing of the image{', and still miss it on the rest' * (found == 'more often')}."
        )
    return (
        told
        + ": on these images the maps can't be told from what knows nothing of the image. Do not read a place from them."
    )


def box_mask(boxes, size):
    """Returns the pixels of an image whose middle lies in one of its boxes.

    Args:
        boxes: list of `(x, y, w, h)` in pixels of the original.
        size: int, pixels a side of the image.

    Returns:
        `(size, size)` bool.
    """
    middle = (np.arange(size) + 0.5) * config.ORIGINAL_SIZE / size
    mask = np.zeros((size, size), bool)
    for x, y, w, h in boxes:
        mask |= ((middle >= y) & (middle < y + h))[:, None] & ((middle >= x) & (middle < x + w))
    return mask


def _measure(heat, inside):
    """Returns hit, share and IoU of one map."""
    highest, total = heat.max(), heat.sum()
    if highest <= 0:
        return 0.0, 0.0, 0.0
    hot = heat >= highest / 2
    return inside.flat[heat.argmax()], heat[inside].sum() / total, (hot & inside).sum() / (hot | inside).sum()


def _summary(values):
    """Returns the five numbers of the images' measures `(n, 3)`."""
    images = len(values)
    if not images:
        return dict.fromkeys(["pointing", "lower", "upper", "share", "iou"], np.nan)
    pointing, share, iou = values.mean(axis=0)
    limits = binomtest(int(values[:, 0].sum()), images).proportion_ci(method="wilson")
    return {"pointing": pointing, "lower": limits.low, "upper": limits.high, "share": share, "iou": iou}


def _centred(size):
    away = (np.arange(size) - (size - 1) / 2) / (size / 4)
    bell = np.exp(-(away**2) / 2)
    return np.outer(bell, bell)


def _mean_of_others(heat, labels):
    means = np.zeros(heat.shape, np.float64)
    for finding in set(labels):
        some = labels == finding
        means[some] = (heat[some].sum(axis=0, dtype=np.float64) - heat[some]) / max(some.sum() - 1, 1)
    return means
