"""The words of the talk's first half and of its end: what was asked, of which images and networks, and what is left to do.

Each function returns `presentation.Words`, or `None` where the run has not written the file that they are drawn from, so that its slide
is left out. So do those of `talk_results`.
"""

import functools
import re

import pandas as pd

from cxr_utils import config, data, phantom
from cxr_utils.reports import published, results
from cxr_utils.reports.slides_html import SlideText

# Share of NIH's labels that radiologists confirm, and of the cases they see that the labels name (Majkowska et al., Radiology 2020).
_READ_AGAIN = {"pneumothorax": (0.485, 0.497), "nodule or mass": (0.565, 0.454)}


def where_written(words):
    """Makes a function of words return `None` where a file of the run is not there."""

    @functools.wraps(words)
    def written(*given):
        try:
            return words(*given)
        except FileNotFoundError:
            return None

    return written


def name(model):
    """Says what a model is, `"MobileNet, random initialization"`; where the run hasn't tested it, by its key."""
    try:
        return results.load_auroc(model)[2]
    except FileNotFoundError:
        return model


def short(model):
    """Names a model within a sentence: `"the baseline"`, `"MobileNet"`."""
    network = name(model).partition(",")[0]
    return f"the {network}" if network == "baseline" else network


def full(model):
    """Names a model with what it started from: `"the baseline (from scratch)"`, `"MobileNet (random initialization)"`."""
    begin = "from scratch" if model == "baseline" else name(model).partition(", ")[2]
    return f"{short(model)} ({begin})" if begin else short(model)


def start(sentence):
    """Begins a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def synthetic():
    """Says whether the images are the phantom's."""
    return data.image_source().startswith("Images: " + phantom.NOTE.partition(":")[0])


def seen_share():
    """Returns the share of test images that show a patient whom training or validation has seen; 0 where there is no test set."""
    try:
        return data.load_frame("test_set").seen.mean()
    except FileNotFoundError:
        return 0.0


def question(first, second):
    """Opens the talk."""
    return SlideText(
        "Which chest X-ray should be read first?",
        f"Two networks look for 14 findings on chest radiographs: {full(first)} and {full(second)}.\nHow far can they be trusted?",
        "Where radiologists are short, images wait. We ask whether a network can put those on top that most likely show one of 14 "
        f"findings. Two are compared, {full(first)} and {full(second)}; all numbers are of this run.",
    )


def use():
    """Says what the networks are for and what not."""
    right = ["research and teaching", "sorting images by urgency", "frontal images (PA, AP) of adults"]
    wrong = [
        "a diagnosis, ever",
        "a decision about a patient without a physician",
        "children, lateral views, anything else",
    ]
    return SlideText(
        "It puts images in order for a physician; it never makes a diagnosis",
        "A physician still reads every image; only the order changes.",
        "This is a pre-diagnosis aid. A physician still reads every image, and only the order changes. It has not been tested in a "
        "clinic, and it has hardly seen children or anything but frontal images.",
        pd.DataFrame({"It is for": right, "It is not for": wrong}),
    )


@where_written
def images():
    """Counts images, patients and findings of `subset/subset.pkl`."""
    images = data.load_frame("subset")
    counts = images[config.LABELS].sum().sort_values()
    none = (images[config.LABELS].sum(axis=1) == 0).mean()
    rarest, commonest = (f"{counts.index[at].replace('_', ' ')} ({counts.iloc[at]:,.0f})" for at in (0, -1))
    told = f"{len(images):,} images of {images.patientID.nunique():,} patients"
    return SlideText(
        f"{told}; {none:.0%} show none of the 14 findings",
        f"Commonest: {commonest}.\nRarest: {rarest}.\nThe chart counts all images fetched, also those that a stratified split leaves out.",
        f"We work with {told}. The commonest finding is {commonest}, the rarest {rarest}. As most images lack any one finding, "
        "accuracy would say little, so we ask how well images with a finding are told from images without.",
    )


def labels():
    """Says how far NIH's labels are right."""
    table = pd.DataFrame(_READ_AGAIN).map("{:.1%}".format).T.rename_axis("Finding").reset_index()
    right, found = _READ_AGAIN["pneumothorax"]
    return SlideText(
        f"NIH's labels come from reports: radiologists confirm {right:.1%} of those of pneumothorax",
        "Radiologists read test images again (Majkowska 2020). 36% of the images labeled “No Finding” showed one of four findings.\n"
        "A model can be no more right than what it is measured against.",
        "Nobody looked at the images to label them: a program read the reports. Of its labels of pneumothorax radiologists confirm "
        f"{right:.1%}, and it names {found:.1%} of the cases. Results on NIH's images are measured against such labels.",
        table.set_axis(["Finding", "Labels that radiologists confirm", "Cases that the labels name"], axis=1),
    )


@where_written
def split():
    """Counts the three sets, and the test images of patients who are in another set."""
    train, valid, test = (data.load_frame(f"{part}_set") for part in ("train", "valid", "test"))
    seen = test.seen.sum()
    sizes = f"{len(train):,} images train, {len(valid):,} validate, {len(test):,} test."
    if seen:
        title = f"{seen:,} of {len(test):,} test images show a patient whom training or validation has seen"
        advice = f"A network may recognize the patient instead of the finding: the {len(test) - seen:,} images of unseen patients are judged apart."
    else:
        title = "No test image shows a patient whom training or validation has seen"
        advice = "So all results are of patients who are new to the networks."
    return SlideText(
        title,
        f"{start(published.SPLITS[test.attrs['split']])}.\n{sizes}\n{advice}",
        f"The images are split in three. {sizes} The bars show how frequent each finding is in each of them. {title}. {advice}",
    )


@where_written
def method(*models):
    """Describes the networks: size, start, and the epoch that was kept."""
    columns = {}
    for model in models:
        what, size, parameters = _summary(model)
        log = pd.read_csv(config.home() / "logs" / f"{model}_training.csv")
        best = log.loc[log.val_mean_auroc.idxmax()]
        network, _, begin = what.partition(", ")
        columns[start(network)] = {
            "starts from": begin or "random weights",
            "parameters": parameters,
            "images": f"{size}×{size} pixels",
            "epoch kept": f"{best.epoch:.0f} of {len(log)}",
            "mean AUROC on validation": f"{best.val_mean_auroc:.3f}",
        }
    sizes = " and ".join(column["parameters"] for column in columns.values())
    return SlideText(
        f"Two networks, of {sizes} parameters, learn from the same images",
        "Kept is the epoch that tells validation images apart best, by mean AUROC. Test images had no part in it.",
        f"We compare {' and '.join(map(short, models))}, of {sizes} parameters. Both answer 14 times yes or no. After each epoch the "
        "validation images are predicted, and the epoch with the highest mean AUROC is kept. Test images are looked at once, at the end.",
        pd.DataFrame(columns).rename_axis("").reset_index(),
    )


@where_written
def layers(model):
    """Explains the figure of an image's way through the layers."""
    _, size, _ = _summary(model)
    last = size // 16
    return SlideText(
        f"{start(short(model))} trades detail for wider views",
        "Each row is a block of layers, with its six most varied maps, each on a scale of its own: bright is where it answers. "
        "The deeper, the more of the image a point sees, and the coarser.",
        f"This is one image on its way through {short(model)}. The first block sees edges and brightness at {size} by {size} pixels, the last "
        f"one regions, on a grid of {last} by {last}. What a map means to a physician is not certain: it is shown to be looked at.",
    )


def limits():
    """Says what the results can't show."""
    if synthetic():
        lines = ["Synthetic images: no number here is about patients."]
    else:
        lines = ["NIH's labels are partly wrong.", "All of NIH's images are of one hospital."]
    seen = seen_share()
    if seen:
        lines.append(f"{seen:.0%} of the test images show patients already seen.")
    lines += [
        "Intervals tell chance in the choice of patients, not in training.",
        "Heat maps show what moved a prediction, not the disease.",
    ]
    return SlideText(
        "No result is better than its labels, or holds beyond images like these",
        "\n".join(lines),
        f"These limits belong to every number we have shown. {' '.join(lines)} Another training gives another network, another hospital other "
        "images, and a heat map is no proof of understanding.",
    )


@where_written
def further(first, second):
    """Says what to do next, as far as this run has not done it."""
    images, test = data.load_frame("subset"), data.load_frame("test_set")
    whole, size = published.WHOLE_SET[test.attrs["split"]], min(_summary(model)[1] for model in (first, second))
    steps = {}
    if len(images) < whole:
        steps["all of NIH's images"] = f"All of NIH's images: {whole:,} instead of {len(images):,}."
    if test.seen.any():
        steps["new patients"] = "A split by patient, to test on unseen ones alone."
    if "random" in name(second):
        steps["a pretrained start"] = "ImageNet weights to start from: others gained 0.014 to 0.020 AUROC."
    if size < 224:
        steps["larger images"] = f"224 pixels a side instead of {size}: others gained 0.010."
    steps["another hospital"] = "A test in another hospital."
    return SlideText(
        f"Next: {', '.join(steps)}",
        "\n".join(steps.values()),
        f"What should come next? {' '.join(steps.values())} Nobody should rely on the networks before that.",
    )


def _summary(model):
    """Reads what a model is, its pixels a side and its parameters, in words, from `logs/<model>_model_summary.txt`."""
    text = (config.home() / "logs" / f"{model}_model_summary.txt").read_text(encoding="utf-8")
    what, size, parameters = re.match(r"(.+?), (\d+)×\d+ pixels\..*Total params: ([\d,]+)", text, flags=re.S).groups()
    return what, int(size), parameters
