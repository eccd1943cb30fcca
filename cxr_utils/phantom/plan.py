"""Plans the patients, findings and label errors of a phantom release; docs/phantom.md states the same in words."""

from itertools import combinations

import numpy as np

from cxr_utils import config

# Seeds of the plan and of the age groups. With them, every group of a default release has enough patients.
PLAN_SEED, AGE_SEED = 16, 534
# Findings that occur together: each of them alone, each pair of a group, and all three. In a default release, each of
# these combinations occurs in more than 20 images, so that `data.keep_frequent_combinations` keeps it.
GROUPS = (
    ("Atelectasis", "Consolidation", "Effusion"), ("Cardiomegaly", "Edema", "Effusion"),
    ("Consolidation", "Infiltration", "Pneumonia"), ("Emphysema", "Mass", "Nodule"),
    ("Emphysema", "Fibrosis", "Pleural_Thickening"), ("Emphysema", "Nodule", "Pneumothorax"),
    ("Atelectasis", "Cardiomegaly", "Hernia"), ("Effusion", "Mass", "Pleural_Thickening"),
    ("Edema", "Infiltration", "Pneumonia"), ("Fibrosis", "Hernia", "Nodule"),
    ("Fibrosis", "Pleural_Thickening", "Pneumothorax"), ("Atelectasis", "Hernia", "Mass"),
    ("Cardiomegaly", "Edema", "Infiltration"), ("Consolidation", "Pneumonia", "Pneumothorax"),
)  # fmt: skip
# Relative frequency of a combination by its number of findings.
FREQUENCIES = (300, 22, 26, 80)
COMBINATIONS = {
    frozenset(findings): FREQUENCIES[number]
    for number in range(4)
    for group in (*GROUPS, *zip(config.LABELS, strict=True))
    for findings in combinations(group, number)
}
# Errors of the label table, as of labels that a program extracts from reports: how often a finding of an image is
# missing, and in how many images there is one too many.
MISSED, SURPLUS = 0.15, 0.25
ADJUDICATED_SHARE = 0.7  # share of the patients with adjudicated labels, which have no errors
# Number of images of a patient and its probability: as at NIH, most have one image, and a few have very many.
IMAGES = {1: 0.82, 2: 0.07, 3: 0.04, 4: 0.025, 6: 0.02, 8: 0.015, 12: 0.007, 20: 0.003}
AGES = ((18, 39), (40, 59), (60, 90))  # equally frequent
CHILD, CHILDREN = (5, 17), 0.03  # a few patients are children
BEDSIDE = {"Edema", "Effusion", "Consolidation", "Pneumonia"}  # findings that are more frequent in AP images
# Impossible ages, as in the first edition of NIH's label table.
IMPOSSIBLE_AGES = (148, 150, 155, 411, 414)
# Width and height in pixels, and mm per pixel, of the most frequent detectors of NIH's images.
DETECTORS = {
    "PA": [(2992, 2991, 0.143), (2500, 2048, 0.168), (2048, 2500, 0.168)],
    "AP": [(3056, 2544, 0.139), (2500, 2048, 0.168)],
}


def plan_images(patients, seed):
    """Plans the images of all patients and their findings.

    Args:
        patients: int, number of patients.
        seed: int.

    Returns:
        List of dicts sorted by name, one per image: `name`, `patient`, `followup`, `findings` (list, alphabetical, what
        is drawn), `labels` (the same with the errors of the label table), `age`, `sex`, `view`, `rgba` (bool, written
        with four channels), `test` (bool, in the official test list), `detector` (one of `DETECTORS`), `set` (that of
        the adjudicated labels, or `None`).
    """
    rng = np.random.default_rng([seed, PLAN_SEED])
    counts = rng.choice(list(IMAGES), patients, p=list(IMAGES.values()))
    known = sorted(COMBINATIONS, key=sorted)
    share = np.array([COMBINATIONS[findings] for findings in known])
    share = share / share.sum()
    shared = np.array([[len(a & b) for b in known] for a in known])
    # Number of images of each combination that are still to be planned. It keeps the frequencies near their targets.
    missing = share * counts.sum()
    order = np.argsort(rng.random(patients))
    test = set(order[np.cumsum(counts[order]) <= 0.23 * counts.sum()])
    reread = dict(zip(order, rng.permutation(patients) / patients / ADJUDICATED_SHARE, strict=True))

    images = []
    groups = np.random.default_rng([seed, AGE_SEED]).permutation(patients) % len(AGES)
    for patient, group in zip(rng.permutation(patients), groups, strict=True):
        weights = np.clip(missing, 0.01 * share, None)
        usual = rng.choice(len(share), p=weights / weights.sum())
        youngest, oldest = CHILD if rng.random() < CHILDREN else AGES[group]
        age, sex = int(rng.integers(youngest, oldest + 1)), "MF"[int(rng.random() < 0.48)]
        for followup in range(counts[patient]):
            # Most often the usual combination of the patient; else one that shares a finding, or "No Finding".
            likely = 0.02 + (shared[usual] > 0) + 0.3 * (share == share.max()) + 60.0 * (np.arange(len(share)) == usual)
            weights = np.clip(missing, 0.01 * share, None) * likely
            pick = rng.choice(len(share), p=weights / weights.sum()) if followup else usual
            missing[pick] -= 1
            # Reports of one patient are alike, and so are their errors.
            report = np.random.default_rng([seed, patient, pick])
            labels = frozenset(finding for finding in sorted(known[pick]) if report.random() >= MISSED)
            more = [label for label in config.LABELS if label not in known[pick] and labels | {label} in COMBINATIONS]
            if report.random() < SURPLUS and more:
                labels |= {more[report.integers(len(more))]}
            view = "AP" if rng.random() < (0.55 if known[pick] & BEDSIDE else 0.42) else "PA"
            images.append({
                "name": f"{patient + 1:08d}_{followup:03d}.png", "patient": int(patient) + 1, "followup": followup,
                "findings": sorted(known[pick]), "labels": sorted(labels), "age": age, "sex": sex, "view": view,
                "rgba": False, "test": patient in test, "detector": DETECTORS[view][rng.integers(len(DETECTORS[view]))],
                "set": None if reread[patient] >= 1 else "test" if reread[patient] < 0.5 else "val",
            })  # fmt: skip
            age = min(age + int(rng.random() < 0.2), oldest)
    images.sort(key=lambda image: image["name"])
    # As in NIH's files, about 1 % of the images have four channels, and a few ages are impossible.
    for index in rng.choice(len(images), -(-len(images) // 100), replace=False):
        images[index]["rgba"] = True
    wrong = rng.choice(len(images), min(len(IMPOSSIBLE_AGES), len(images)), replace=False)
    for index, age in zip(wrong, IMPOSSIBLE_AGES, strict=False):  # a small release has fewer images than there are ages
        images[index]["age"] = age
    return images
