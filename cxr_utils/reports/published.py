"""What others report on ChestX-ray14, by split."""

import pandas as pd

SPLITS = {
    "official": "NIH's official split",
    "patient": "random split by patient",
    "stratified": "split by image (leaks)",
}
# Images of NIH's set that a split keeps.
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


def published_table(ours, split, images):
    """Sets mean AUROC as published beside ours, a column for each split.

    Args:
        ours: dict of model → its mean AUROC in words.
        split: a key of `SPLITS`, on which ours were trained and tested.
        images: int, of all three sets. Fewer than the split keeps of NIH's set are other images, with a column of their own.

    Returns:
        Frame of strings indexed by model; empty where a model was not tested on that split.
    """
    here = SPLITS[split] if images >= WHOLE_SET[split] else f"{SPLITS[split]} of these {images:,} images"
    columns = list(dict.fromkeys([*SPLITS.values(), here]))
    rows = [(name, SPLITS[split], f"{value:.4g}".ljust(4, "0")) for name, split, value in PUBLISHED]
    rows += [(name, here, text) for name, text in ours.items()]
    table = pd.DataFrame("", pd.Index([name for name, _, _ in rows], name="model"), columns)
    for name, column, text in rows:
        table.loc[name, column] = text
    return table
