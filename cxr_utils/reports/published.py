"""Mean AUROC on ChestX-ray14 as reported by others, by split."""

import pandas as pd

SPLITS = {
    "official": "NIH's official split",
    "patient": "random split by patient",
    "stratified": "split by image (leakage)",
}
# Number of images of the NIH data set that each split keeps.
WHOLE_SET = {"official": 112_120, "patient": 112_120, "stratified": 109_577}
# Published mean AUROC of the 14 findings. Results on different splits are not comparable.
PUBLISHED = [
    ("Wang 2017, ResNet-50", "official", 0.745),
    ("Baltruschat 2019, ResNet-38 with patient data", "official", 0.806),
    ("ResNet-50, ImageNet weights", "official", 0.817),
    ("Ark-6 (Swin-B)", "official", 0.8305),
    ("EVA-X-B (model possibly selected on the test set)", "official", 0.835),
    ("CheXNet (Rajpurkar 2017), DenseNet-121", "patient", 0.841),
    ("earlier version of this pipeline (2019), baseline", "stratified", 0.73),
    ("earlier version of this pipeline (2019), MobileNet", "stratified", 0.80),
]


def published_table(ours, split, images):
    """Tabulates published mean AUROC and that of this run, with a column for each split.

    Args:
        ours: dict of model → its mean AUROC as str.
        split: key of `SPLITS`, the split of this run.
        images: int, number of images in training, validation and test set together. If it is smaller than the number of
            NIH images that the split keeps, the results of this run get a separate column.

    Returns:
        Frame of str indexed by model. A cell is empty if there is no result of the model on that split.
    """
    here = SPLITS[split] if images >= WHOLE_SET[split] else f"{SPLITS[split]} of these {images:,} images"
    columns = list(dict.fromkeys([*SPLITS.values(), here]))
    rows = [(name, SPLITS[split], f"{value:.4g}".ljust(4, "0")) for name, split, value in PUBLISHED]
    rows += [(name, here, text) for name, text in ours.items()]
    table = pd.DataFrame("", pd.Index([name for name, _, _ in rows], name="model"), columns)
    for name, column, text in rows:
        table.loc[name, column] = text
    return table
