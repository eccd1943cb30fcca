"""Text of the slides on the question, the data, the models, the limits and the next steps.

Each function returns a `SlideText`, or `None` if the run has not written a file that the text is computed from. The
slide is then left out. The same applies to `slides_results`.
"""

import functools
import re

import pandas as pd

from cxr_utils import config, data, phantom
from cxr_utils.reports import published, results
from cxr_utils.reports.slides_html import SlideText

# PPV and sensitivity of NIH's labels, by radiologist-adjudicated reference labels (Majkowska et al., Radiology 2020).
_LABEL_QUALITY = {"pneumothorax": (0.485, 0.497), "nodule or mass": (0.565, 0.454)}


def if_written(function):
    """Decorates a function of slide text so that it returns `None` if a file of the run is missing."""

    @functools.wraps(function)
    def decorated(*args):
        try:
            return function(*args)
        except FileNotFoundError:
            return None

    return decorated


def full_name(model):
    """Returns the description of a model: `"MobileNet, random initialization"`, or its key if it was not tested."""
    try:
        return results.load_auroc(model)[2]
    except FileNotFoundError:
        return model


def short_name(model):
    """Returns the name of a model within a sentence: `"the baseline"`, `"MobileNet"`."""
    network = full_name(model).partition(",")[0]
    return f"the {network}" if network == "baseline" else network


def long_name(model):
    """Returns the name of a model with its initial weights, such as `"MobileNet (random initialization)"`."""
    weights = "random initialization" if model == "baseline" else full_name(model).partition(", ")[2]
    return f"{short_name(model)} ({weights})" if weights else short_name(model)


def capitalize(sentence):
    """Capitalizes the first letter of a sentence and leaves the rest unchanged."""
    return sentence[:1].upper() + sentence[1:]


def percent(share, digits=0):
    """Formats a share in [0, 1] in percent: `"49 %"`."""
    return f"{100 * share:.{digits}f} %"


def synthetic():
    """Returns whether the images are those of the phantom."""
    return data.image_source().startswith("Images: " + phantom.NOTE.partition(":")[0])


def seen_share():
    """Returns the share of test images from patients with images in the development set; 0 without a test set."""
    try:
        return data.load_frame("test_set").seen.mean()
    except FileNotFoundError:
        return 0.0


def question(first, second):
    """Returns the text of the opening slide."""
    networks = f"{long_name(first)} and {long_name(second)}"
    return SlideText(
        "Which chest X-ray should be read first?",
        f"Two models look for 14 findings on chest X-rays: {networks}.\nHow well do they recognize each finding?",
        "Where there are few radiologists, images wait to be read. We ask whether a model can move the images that "
        f"most likely show one of 14 findings to the top of the list. We compare two models: {networks}. All "
        "results are from this run, unless a source is named.",
    )


def intended_use():
    """Returns the text on intended use."""
    intended = ["research and teaching", "ordering images by urgency", "frontal images (PA, AP) of adults"]
    not_intended = ["making a diagnosis", "decisions without a physician", "children, lateral views, other images"]
    return SlideText(
        "Intended to help order images for reading, never to make a diagnosis",
        "A physician still reads every image. The effect of a changed order was not evaluated.",
        "This is a pre-diagnosis aid. A physician still reads every image. The models "
        "have not been tested in a clinic. They were trained on few children and on frontal images.",
        pd.DataFrame({"Intended for": intended, "Not intended for": not_intended}),
    )


@if_written
def images():
    """Returns the text on the number of images, patients and findings in `subset/subset.pkl`."""
    frame = data.load_frame("subset")
    counts = frame[config.LABELS].sum().sort_values()
    without = (frame[config.LABELS].sum(axis=1) == 0).mean()
    least, most = (f"{counts.index[row].replace('_', ' ')} ({counts.iloc[row]:,.0f})" for row in (0, -1))
    total = f"{len(frame):,} images of {frame.patientID.nunique():,} patients"
    return SlideText(
        f"{total}; {percent(without)} have none of the 14 findings",
        f"Most frequent in these: {most}.\n"
        f"Least frequent: {least}.\n"
        "Title and text: images that the split keeps. Chart: all downloaded images.",
        f"We use {total}. The most frequent finding is {most}, the least frequent {least}. Most images do not have a "
        "given finding. A model that never reports it would have a high accuracy, so we report the AUROC instead.",
    )


def labels():
    """Returns the text on the quality of NIH's labels."""
    table = pd.DataFrame(_LABEL_QUALITY).map(lambda share: percent(share, 1)).T.rename_axis("Finding").reset_index()
    ppv, sensitivity = (percent(share, 1) for share in _LABEL_QUALITY["pneumothorax"])
    return SlideText(
        f"NIH's labels come from reports: the label of pneumothorax has a PPV of {ppv}",
        "Reference: radiologist-adjudicated labels (Majkowska 2020). Of the images labeled “No Finding”, 36 % had at "
        "least one of four findings (test and validation images of that study).\n"
        "Label errors can bias measured performance in either direction.",
        "A program extracted the labels from radiology reports; it did not use the images. Compared with "
        f"radiologist-adjudicated reference labels, {ppv} of NIH's pneumothorax labels are correct, and the labels "
        f"name {sensitivity} of the images with pneumothorax. Results on NIH's images rest on such labels.",
        table.set_axis(["Finding", "PPV of NIH's label", "Sensitivity of NIH's label"], axis=1),
    )


@if_written
def split():
    """Returns the text on the three sets and on the test images from patients with images in the development set."""
    train, valid, test = (data.load_frame(f"{part}_set") for part in ("train", "valid", "test"))
    seen = test.seen.sum()
    sizes = f"{len(train):,} training, {len(valid):,} validation and {len(test):,} test images."
    if seen:
        title = f"{seen:,} of {len(test):,} test images are of patients with images in the development set"
        consequence = (
            f"A model may recognize the patient instead of the finding. Results on the {len(test) - seen:,} images "
            "of patients not in the development set are reported separately where there are enough of them."
        )
    else:
        title = "No test image is of a patient with images in the development set"
        consequence = "All results are therefore on patients not in the development set."
    return SlideText(
        title,
        f"{capitalize(published.SPLITS[test.attrs['split']])}.\n{sizes}\n{consequence}",
        f"The images are divided into three sets: {sizes} Training and validation set together are the development "
        f"set. The bars show how frequent each finding is in each set. {title}. {consequence}",
    )


@if_written
def method(*models):
    """Returns the text on the models: initial weights, size, and the epoch that was kept."""
    columns = {}
    for model in models:
        description, size, parameters = _summary(model)
        log = pd.read_csv(config.home() / "logs" / f"{model}_training.csv")
        best = log.loc[log.val_mean_auroc.idxmax()]
        network, _, weights = description.partition(", ")
        columns[capitalize(network)] = {
            "initial weights": weights or "random initialization",
            "parameters": parameters,
            "image size": f"{size}×{size} pixels",
            "epoch kept": f"{best.epoch:.0f} of {len(log)}",
            "validation mean AUROC": f"{best.val_mean_auroc:.3f}",
        }
    sizes = " and ".join(column["parameters"] for column in columns.values())
    return SlideText(
        f"Two models with {sizes} parameters are trained on the same images",
        "The epoch with the highest mean AUROC on the validation images is kept. Test images have no part in this.",
        f"We compare {' and '.join(map(short_name, models))}, with {sizes} parameters. Each predicts 14 "
        "probabilities, one for each finding. After each epoch, the mean AUROC on the validation images is computed, "
        "and the epoch with the highest value is kept. The test images are used once, at the end.",
        pd.DataFrame(columns).rename_axis("").reset_index(),
    )


@if_written
def layers(model):
    """Returns the text on the feature maps of one image."""
    _, size, _ = _summary(model)
    last = size // 16
    return SlideText(
        f"{capitalize(short_name(model))}: deeper layers cover larger regions",
        "Each row shows a block of layers: the six feature maps that vary most, each with its own scale. Bright "
        "means a strong response. In deeper blocks, a point covers a larger region of the image, at lower resolution.",
        f"These are feature maps of one image in {short_name(model)}. The maps of the first block have {size} by "
        f"{size} points and show fine detail. Those of the last block have {last} by {last} points and summarize "
        "larger regions. The figure is an illustration: the medical meaning of a feature map is not known.",
    )


def limits():
    """Returns the text on what the results cannot show."""
    if synthetic():
        lines = ["Synthetic images: no result applies to patients."]
    else:
        lines = ["NIH's labels contain errors.", "All NIH images are from one hospital."]
    seen = seen_share()
    if seen:
        lines.append(f"{percent(seen)} of the test images are of patients with images in the development set.")
    lines += [
        "Intervals reflect the sample of patients, not training.",
        "Heat maps show regions that raised a prediction, not the disease.",
    ]
    return SlideText(
        "The results apply to these labels and to images like these",
        "\n".join(lines),
        f"These limits apply to every result in this talk. {' '.join(lines)} Another training run gives another "
        "model, another hospital has other images, and a heat map does not prove that a model is right.",
    )


@if_written
def next_steps(first, second):
    """Returns the text on the next steps that this run has not taken."""
    images, test = data.load_frame("subset"), data.load_frame("test_set")
    whole, size = published.WHOLE_SET[test.attrs["split"]], min(_summary(model)[1] for model in (first, second))
    steps = {}
    if len(images) < whole:
        steps["all NIH images"] = f"All NIH images of this split: {whole:,} instead of {len(images):,}."
    if test.seen.any():
        steps["a split by patient"] = "A split by patient, without patient overlap."
    if "random" in full_name(second):
        steps["ImageNet weights"] = "ImageNet weights: others gained 0.014 to 0.020 mean AUROC."
    if size < 224:
        steps["larger images"] = f"224×224 instead of {size}×{size} pixels: others gained 0.010 mean AUROC."
    steps["another hospital"] = "A test at another hospital."
    return SlideText(
        f"Next: {', '.join(steps)}",
        "\n".join(steps.values()),
        f"What should come next? {' '.join(steps.values())} Nobody should rely on the models before that.",
    )


def _summary(model):
    """Returns description, image size in pixels and number of parameters from `logs/<model>_model_summary.txt`."""
    text = (config.home() / "logs" / f"{model}_model_summary.txt").read_text(encoding="utf-8")
    match = re.match(r"(.+?), (\d+)×\d+ pixels\..*Total params: ([\d,]+)", text, flags=re.S)
    description, size, parameters = match.groups()
    return description, int(size), parameters
