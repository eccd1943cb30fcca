"""Mean AUROC on ChestX-ray14 as reported by others, by split."""

import pandas as pd

from cxr_utils import data, evaluation

SPLITS = {
    "official": "NIH's official split",
    "patient": "random split by patient",
    "stratified": "split by image (leakage)",
}
# Number of images of the NIH data set that each split keeps.
WHOLE_SET = {"official": 112_120, "patient": 112_120, "stratified": 109_577}
# Published mean AUROC of the 14 findings. Only results on the official split are on the same test images.
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
    """Lists published mean AUROCs and those of this run, by split.

    Args:
        ours: dict of model → frame of `evaluation.auroc_table`.
        split: key of `SPLITS`, the split of this run.
        images: int, number of images in training, validation and test set together.

    Returns:
        DataFrame with `model`, `split` (key of `SPLITS`), `mean_auroc`, `lower`, `upper` and `findings` (of this run:
        the 95 % interval and the number of findings in the mean; else missing), `images` (of this run, if they are
        fewer than the NIH images that the split keeps; else missing) and `this_run` (bool).
    """
    table = pd.DataFrame(PUBLISHED, columns=["model", "split", "mean_auroc"]).assign(this_run=False)
    fewer = images if images < WHOLE_SET[split] else None
    means = pd.DataFrame({model: auroc.attrs["mean"] for model, auroc in ours.items()}).T
    means = means[["auroc", "lower", "upper", "findings"]].rename(columns={"auroc": "mean_auroc"})
    means = means.rename_axis("model").reset_index().assign(split=split, images=fewer, this_run=True)
    table = pd.concat([table, means]).sort_values("split", key=lambda s: s.map([*SPLITS].index), kind="stable")
    return table.astype({"images": "Int64", "findings": "Int64"}).reset_index(drop=True)


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
    auroc = [
        # Published values with the decimals that they have, at least two.
        f"{evaluation.with_interval(row.mean_auroc, row.lower, row.upper)}, {row.findings:.0f} findings"
        if row.this_run
        else max(f"{row.mean_auroc:.2f}", f"{row.mean_auroc:g}", key=len)
        for row in table.itertuples()
    ]
    return pd.DataFrame({"split": table.split.map(SPLITS) + images, "mean AUROC": auroc}).set_index(model)
