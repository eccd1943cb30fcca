"""The words of the talk's first half and of its end: what was asked, of which films and networks, and what is left to do.

Each function returns `presentation.Words`, or `None` where the run has not written the file that they are drawn from, so that its slide
is left out. So do those of `talk_results`.
"""

import functools
import re

import pandas as pd

from cxr_utils import config, frames, phantom, report, results
from cxr_utils.presentation import Words
from cxr_utils.showing import films_note

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
    """Says what a model is, `"MobileNet, random initialisation"`; where the run hasn't tested it, by its key."""
    try:
        return results.load_auroc(model)[2]
    except FileNotFoundError:
        return model


def short(model):
    """Names a model within a sentence: `"the baseline"`, `"MobileNet"`."""
    network = name(model).partition(",")[0]
    return f"the {network}" if network == "baseline" else network


def full(model):
    """Names a model with what it started from: `"the baseline (from scratch)"`, `"MobileNet (random initialisation)"`."""
    begin = "from scratch" if model == "baseline" else name(model).partition(", ")[2]
    return f"{short(model)} ({begin})" if begin else short(model)


def start(sentence):
    """Begins a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def synthetic():
    """Says whether the films are the phantom's."""
    return films_note().startswith("Films: " + phantom.NOTE.partition(":")[0])


def seen_share():
    """Returns the share of test films that show a patient whom training or validation has seen; 0 where there is no test set."""
    try:
        return frames.load_frame("test_set").seen.mean()
    except FileNotFoundError:
        return 0.0


def question(first, second):
    """Opens the talk."""
    return Words(
        "Which chest film should be read first?",
        f"Two networks look for 14 findings on chest radiographs: {full(first)} and {full(second)}.\nHow far can they be trusted?",
        "Where radiologists are short, films wait. We ask whether a network can put those on top that most likely show one of 14 "
        f"findings. Two are compared, {full(first)} and {full(second)}; all numbers are of this run.",
    )


def use():
    """Says what the networks are for and what not."""
    right = ["research and teaching", "sorting films by urgency", "frontal films (PA, AP) of adults"]
    wrong = ["a diagnosis, ever", "a decision about a patient without a physician", "children, lateral views, anything else"]
    return Words(
        "It puts films in order for a physician; it never makes a diagnosis",
        "A physician still reads every film; only the order changes.",
        "This is a pre-diagnosis aid. A physician still reads every film, and only the order changes. It has not been tested in a "
        "clinic, and it has hardly seen children or anything but frontal films.",
        pd.DataFrame({"It is for": right, "It is not for": wrong}),
    )


@where_written
def data():
    """Counts films, patients and findings of `subset/subset.pkl`."""
    films = frames.load_frame("subset")
    counts = films[config.LABELS].sum().sort_values()
    none = (films[config.LABELS].sum(axis=1) == 0).mean()
    rarest, commonest = (f"{counts.index[at].replace('_', ' ')} ({counts.iloc[at]:,.0f})" for at in (0, -1))
    told = f"{len(films):,} films of {films.patientID.nunique():,} patients"
    return Words(
        f"{told}; {none:.0%} show none of the 14 findings",
        f"Commonest: {commonest}.\nRarest: {rarest}.\nThe chart counts all films fetched, also those that a stratified split leaves out.",
        f"We work with {told}. The commonest finding is {commonest}, the rarest {rarest}. As most films lack any one finding, "
        "accuracy would say little, so we ask how well films with a finding are told from films without.",
    )


def labels():
    """Says how far NIH's labels are right."""
    table = pd.DataFrame(_READ_AGAIN).map("{:.1%}".format).T.rename_axis("Finding").reset_index()
    right, found = _READ_AGAIN["pneumothorax"]
    return Words(
        f"NIH's labels come from reports: radiologists confirm {right:.1%} of those of pneumothorax",
        "Radiologists read test films again (Majkowska 2020). 36% of the films labelled “No Finding” showed one of four findings.\n"
        "A model can be no more right than what it is measured against.",
        "Nobody looked at the films to label them: a program read the reports. Of its labels of pneumothorax radiologists confirm "
        f"{right:.1%}, and it names {found:.1%} of the cases. Results on NIH's films are measured against such labels.",
        table.set_axis(["Finding", "Labels that radiologists confirm", "Cases that the labels name"], axis=1),
    )


@where_written
def split():
    """Counts the three sets, and the test films of patients who are in another set."""
    train, valid, test = (frames.load_frame(f"{part}_set") for part in ("train", "valid", "test"))
    seen = test.seen.sum()
    sizes = f"{len(train):,} films train, {len(valid):,} validate, {len(test):,} test."
    if seen:
        title = f"{seen:,} of {len(test):,} test films show a patient whom training or validation has seen"
        advice = f"A network may recognise the patient instead of the finding: the {len(test) - seen:,} films of unseen patients are judged apart."
    else:
        title = "No test film shows a patient whom training or validation has seen"
        advice = "So all results are of patients who are new to the networks."
    return Words(
        title,
        f"{start(report.SPLITS[test.attrs['split']])}.\n{sizes}\n{advice}",
        f"The films are split in three. {sizes} The bars show how frequent each finding is in each of them. {title}. {advice}",
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
            "films": f"{size}×{size} pixels",
            "epoch kept": f"{best.epoch:.0f} of {len(log)}",
            "mean AUROC on validation": f"{best.val_mean_auroc:.3f}",
        }
    sizes = " and ".join(column["parameters"] for column in columns.values())
    return Words(
        f"Two networks, of {sizes} parameters, learn from the same films",
        "Kept is the epoch that tells validation films apart best, by mean AUROC. Test films had no part in it.",
        f"We compare {' and '.join(map(short, models))}, of {sizes} parameters. Both answer 14 times yes or no. After each epoch the "
        "validation films are predicted, and the epoch with the highest mean AUROC is kept. Test films are looked at once, at the end.",
        pd.DataFrame(columns).rename_axis("").reset_index(),
    )


@where_written
def layers(model):
    """Explains the figure of a film's way through the layers."""
    _, size, _ = _summary(model)
    last = size // 16
    return Words(
        f"{start(short(model))} trades detail for wider views",
        "Each row is a block of layers, with its six most varied maps, each on a scale of its own: bright is where it answers. "
        "The deeper, the more of the film a point sees, and the coarser.",
        f"This is one film on its way through {short(model)}. The first block sees edges and brightness at {size} by {size} pixels, the last "
        f"one regions, on a grid of {last} by {last}. What a map means to a physician is not certain: it is shown to be looked at.",
    )


def limits():
    """Says what the results can't show."""
    if synthetic():
        lines = ["Synthetic films: no number here is about patients."]
    else:
        lines = ["NIH's labels are partly wrong.", "All of NIH's films are of one hospital."]
    seen = seen_share()
    if seen:
        lines.append(f"{seen:.0%} of the test films show patients already seen.")
    lines += ["Intervals tell chance in the choice of patients, not in training.", "Heat maps show what moved a prediction, not the disease."]
    return Words(
        "No result is better than its labels, or holds beyond films like these",
        "\n".join(lines),
        f"These limits belong to every number we have shown. {' '.join(lines)} Another training gives another network, another hospital other "
        "films, and a heat map is no proof of understanding.",
    )


@where_written
def further(first, second):
    """Says what to do next, as far as this run has not done it."""
    films, test = frames.load_frame("subset"), frames.load_frame("test_set")
    whole, size = report.WHOLE_SET[test.attrs["split"]], min(_summary(model)[1] for model in (first, second))
    steps = {}
    if len(films) < whole:
        steps["all of NIH's films"] = f"All of NIH's films: {whole:,} instead of {len(films):,}."
    if test.seen.any():
        steps["new patients"] = "A split by patient, to test on unseen ones alone."
    if "random" in name(second):
        steps["a pretrained start"] = "ImageNet weights to start from: others gained 0.014 to 0.020 AUROC."
    if size < 224:
        steps["larger films"] = f"224 pixels a side instead of {size}: others gained 0.010."
    steps["another hospital"] = "A test in another hospital."
    return Words(
        f"Next: {', '.join(steps)}",
        "\n".join(steps.values()),
        f"What should come next? {' '.join(steps.values())} Nobody should rely on the networks before that.",
    )


def _summary(model):
    """Reads what a model is, its pixels a side and its parameters, in words, from `logs/<model>_model_summary.txt`."""
    text = (config.home() / "logs" / f"{model}_model_summary.txt").read_text(encoding="utf-8")
    what, size, parameters = re.match(r"(.+?), (\d+)×\d+ pixels\..*Total params: ([\d,]+)", text, flags=re.S).groups()
    return what, int(size), parameters
