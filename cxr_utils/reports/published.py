"""Mean AUROC on ChestX-ray14 as reported by others, by split."""

import pandas as pd

from cxr_utils import data

SPLITS = {
    "official": "NIH's official split",
    "patient": "random split by patient",
    "stratified": "split by image (leakage)",
}
# Number of images of the NIH data set that each split keeps.
WHOLE_SET = {"official": 112_120, "patient": 112_120, "stratified": 109_577}
# Published mean AUROC of the 14 findings. Results on different splits are not comparable.
PUBLISHED = [
    ("Wang 2017, ResNet-50", "official", "0.745"),
    ("Baltruschat 2019, ResNet-38 with patient data", "official", "0.806"),
    ("ResNet-50, ImageNet weights", "official", "0.817"),
    ("Ark-6 (Swin-B)", "official", "0.8305"),
    ("EVA-X-B (model possibly selected on the test set)", "official", "0.835"),
    ("CheXNet (Rajpurkar 2017), DenseNet-121", "patient", "0.841"),
    ("earlier version of this pipeline (2019), baseline", "stratified", "0.73"),
    ("earlier version of this pipeline (2019), MobileNet", "stratified", "0.80"),
]


def published_table(ours, split, images):
    """Lists published mean AUROCs and those of this run, by split.

    Args:
        ours: dict of model → its mean AUROC as str.
        split: key of `SPLITS`, the split of this run.
        images: int, number of images in training, validation and test set together.

    Returns:
        DataFrame with `model`, `split` (key of `SPLITS`), `mean_auroc` (str), `images` (of this run, if they are fewer
        than the NIH images that the split keeps; else missing) and `this_run` (bool).
    """
    fewer = images if images < WHOLE_SET[split] else None
    rows = [(*row, None, False) for row in PUBLISHED]
    rows += [(model, split, auroc, fewer, True) for model, auroc in ours.items()]
    rows.sort(key=lambda row: list(SPLITS).index(row[1]))
    table = pd.DataFrame(rows, columns=["model", "split", "mean_auroc", "images", "this_run"])
    return table.astype({"images": "Int64"})


def describe_published(table):
    """Formats published mean AUROCs for readers.

    Args:
        table: DataFrame returned by `published_table`.

    Returns:
        DataFrame of str indexed by `model`: `split` and `mean AUROC`.
    """
    words = ", {:,.0f} phantom images" if data.is_phantom() else ", {:,.0f} images"
    images = table.images.map(words.format, na_action="ignore").fillna("")
    model = table.model.where(~table.this_run, table.model + " (this run)")
    return pd.DataFrame({"split": table.split.map(SPLITS) + images, "mean AUROC": table.mean_auroc}).set_index(model)
