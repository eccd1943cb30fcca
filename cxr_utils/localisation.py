"""Whether a model looks where radiologists saw the finding: heat maps against their boxes.

NIH's radiologists boxed eight findings on 880 films (Wang et al. 2017, CVPR, section 4). A box is in pixels of the 1024×1024
original, a heat map in pixels of the film that the model takes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cxr_utils import config, frames

# NIH's names → ours; three empty columns follow.
_COLUMNS = {"Image Index": "imgindex", "Finding Label": "label", "Bbox [x": "x", "y": "y", "w": "w", "h]": "h"}
_SIDES = ["x", "y", "w", "h"]


def read_boxes(path):
    """Reads the list of boxes.

    Args:
        path: NIH's `BBox_List_2017.csv`, or the phantom's.

    Returns:
        Frame with `imgindex` (file name), `label` (one of `config.BOXED`) and `x`, `y` (upper left corner), `w`, `h` (pixels of the
        1024×1024 original, float), one row for each box in the list's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a finding is none of the eight, or a box is no box on the film.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not in {path.parent.name}/: run 000-data_download first.")
    frame = pd.read_csv(path)
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path.name} has no column {missing}; found {list(frame.columns)}. Expected NIH's {config.BOXES}: fetch it again with "
            "000-data_download."
        )
    frame = frame[list(_COLUMNS)].rename(columns=_COLUMNS)
    given = frame[_SIDES]
    frame = frame.assign(
        label=frame.label.replace("Infiltrate", "Infiltration"),
        **given.apply(pd.to_numeric, errors="coerce").astype(float),
    )
    unknown = frame[~frame.label.isin(config.BOXED)]
    if len(unknown):
        row = unknown.iloc[0]
        raise ValueError(
            f"{path.name}: the box of {row.imgindex} is of '{row.label}'; expected one of {', '.join(config.BOXED)}."
        )
    right, bottom = frame.x + frame.w, frame.y + frame.h
    inside = (frame.x >= 0) & (frame.y >= 0) & (frame.w > 0) & (frame.h > 0)
    inside &= (right <= config.ORIGINAL_SIZE) & (bottom <= config.ORIGINAL_SIZE)
    if not inside.all():
        wrong = frame.index[~inside][0]
        raise ValueError(
            f"{path.name}: the box of {frame.label[wrong]} on {frame.imgindex[wrong]} is {', '.join(map(str, given.loc[wrong]))}; expected x, y, w "
            f"and h in pixels, within {config.ORIGINAL_SIZE}×{config.ORIGINAL_SIZE}."
        )
    return frame


def select_cases(boxes, test):
    """Selects what a model may be judged by: boxes on test films, which it was neither trained nor selected on.

    Args:
        boxes: frame of `read_boxes`.
        test: frame of the test films, with `imgindex` and `patientID`.

    Returns:
        Frame of one row for each finding boxed on a film, in the order of findings and test films: `film` (int, the film's place in
        `test`), `imgindex`, `patientID`, `label` and `boxes` (list of `(x, y, w, h)`, as of `read_boxes`).

    Raises:
        ValueError: a column is missing.
    """
    frames.check(test, ["imgindex", "patientID"], len(test))
    place = pd.DataFrame(
        {"film": np.arange(len(test)), "imgindex": test.imgindex.array, "patientID": test.patientID.array}
    )
    known = place.merge(boxes, on="imgindex").sort_values(["label", "film"], kind="stable")
    rows = [
        (*key, list(group[_SIDES].itertuples(index=False, name=None)))
        for key, group in known.groupby(["film", "imgindex", "patientID", "label"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["film", "imgindex", "patientID", "label", "boxes"])


def localisation_table(cases, heat):
    """Compares heat maps with boxes, beside two maps that know nothing of the film.

    Three measures: the pointing game, the share of films whose hottest point lies in a box (Zhang et al. 2018, IJCV, without
    their tolerance of 15 pixels); the share of a film's heat in its boxes; and the IoU, intersection over union, of
    the boxes and the places at least half as hot as the hottest. A hit in any box of a film counts; a film without heat is a miss.

    The two to beat: `centre`, a Gaussian about the film's centre with a quarter of its side as deviation, and `mean`, the mean
    heat of the finding on all other films (none where there is only one): where the model looks whatever the film shows.

    Args:
        cases: frame of `select_cases`, n rows.
        heat: `(n, size, size)` float32 in [0, 1], of `explain.grad_cam` for film and finding of each case.

    Returns:
        Frame indexed by finding, `config.BOXED` and `"all"`, with `films`, `patients`; `pointing` with `lower` and `upper` (95 %
        interval by Wilson's score, in which each film counts as independent), `share` and `iou` (means over films), all in [0, 1];
        the same five with `centre_` and `mean_` before their names. NaN where there is no film.

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


def than_blind(row):
    """Says how often maps find the place, compared with maps that know nothing of the film.

    The intervals take films as independent and are not paired, so that only intervals apart are a reason to claim anything.

    Args:
        row: of a table of `localisation_table`.

    Returns:
        `"more often"`, `"less often"`, or `None` where these films can't tell.
    """
    if row.lower > np.nanmax([row.centre_upper, row.mean_upper]):
        return "more often"
    if row.upper < np.nanmax([row.centre_lower, row.mean_lower]):
        return "less often"
    return None


def describe(table):
    """Says what a table of `localisation_table` allows to believe of the maps."""
    row = table.loc["all"]
    if not row.films:
        return "No film with a box: nothing says whether the maps point to the right place."
    told = (
        f"{row.films:,.0f} boxed findings of {row.patients:,.0f} patients: the map's hottest point lies in the box on {row.pointing:.0%} "
        f"({row.lower:.0%}–{row.upper:.0%}), the image centre on {row.centre_pointing:.0%}, the hottest point of the finding's mean map on "
        f"{row.mean_pointing:.0%}"
    )
    found = than_blind(row)
    if found:
        return told + f": the maps find the place {found} than what knows nothing of the film{', and still miss it on the rest' * (found == 'more often')}."
    return told + ": on these films the maps can't be told from what knows nothing of the film. Do not read a place from them."


def box_mask(boxes, size):
    """Returns the pixels of a film whose middle lies in one of its boxes.

    Args:
        boxes: list of `(x, y, w, h)` in pixels of the original.
        size: int, pixels a side of the film.

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
    """Returns the five numbers of the films' measures `(n, 3)`."""
    films = len(values)
    if not films:
        return dict.fromkeys(["pointing", "lower", "upper", "share", "iou"], np.nan)
    pointing, share, iou = values.mean(axis=0)
    limits = binomtest(int(values[:, 0].sum()), films).proportion_ci(method="wilson")
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
