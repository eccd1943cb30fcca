"""The slides of a run: one list, with the sentences and tables of the notebooks, computed from the files of the run."""

from functools import partial
from typing import NamedTuple

import pandas as pd

from cxr_utils import config, data, evaluation
from cxr_utils._files import atomic
from cxr_utils.reports import model_card, provenance, published, results, slides_html, slides_pptx
from cxr_utils.reports.inference_settings import load_inference_settings
from cxr_utils.reports.slides_text import IMAGES, LABEL_QUALITY, NOTES, SENTENCES


class Slide(NamedTuple):
    """A slide.

    Attributes:
        title: str, the topic in at most about 60 characters.
        sentence: str, the message in one or two sentences, at most about 300 characters. A line becomes a paragraph.
        figure: str or `None`, name of a PNG file in `figs/`, without its suffix.
        table: DataFrame of str or `None`, shown without its index if there is no figure.
        notes: str, what the presenter says.
    """

    title: str
    sentence: str
    figure: str | None = None
    table: pd.DataFrame | None = None
    notes: str = ""

    @property
    def path(self):
        """The `Path` of the figure."""
        return config.home() / "figs" / f"{self.figure}.png"


def build_slides(models=tuple(config.RISK_COLUMNS)):
    """Builds the slides from the files of this run. A slide is left out if a file that it is made from is missing.

    Args:
        models: list of keys of `config.RISK_COLUMNS`, in the order in which 400 has compared them.

    Returns:
        `(slides, left_out)`: list of `Slide`, and list of the titles of the slides left out.

    Raises:
        ValueError: a file is damaged or was written by an earlier version; the message names the notebook to run.
    """
    slides, left_out = [], []
    for draft in _drafts({model: _network(model) for model in models}):
        try:
            if draft.figure:
                draft.path.stat()
            sentence = draft.sentence() if callable(draft.sentence) else draft.sentence
            shown, table = sentence.replace(" %", "\u00a0%"), draft.table and draft.table()
            slides.append(draft._replace(sentence=shown, table=table, notes=f"{NOTES[draft.notes]} {sentence}"))
        except FileNotFoundError:
            left_out.append(draft.title)
    return slides, left_out


def write_slides(title, slides, note=""):
    """Writes `presentation/slides.html`, which works without a network, and `presentation/slides.pptx`, for editing.

    Args:
        title: str, title of the presentation.
        slides: list of `Slide`. The first one opens the presentation.
        note: str, shown on every slide with the source of the images, such as `data.describe_overlap`.

    Raises:
        FileNotFoundError: a figure is missing.
    """
    for writer, suffix in ((slides_html, "html"), (slides_pptx, "pptx")):
        with atomic(config.home() / "presentation" / f"slides.{suffix}") as part:
            writer.write(part, title, slides, data.image_source(note), "For research and teaching, never a diagnosis.")


def _drafts(names):
    """Returns the slides in order, with a key of `NOTES` as notes.

    A sentence or table that needs files is a function without arguments: a missing file takes out only its slides.

    Args:
        names: dict of model → name of its network.
    """

    def each(title, sentence, figure, notes):
        return [Slide(f"{title}: {names[m]}", partial(sentence, m), figure.format(m), notes=notes) for m in names]

    (baseline, pretrained), texts = config.RISK_COLUMNS, IMAGES[data.is_phantom()]
    return [
        Slide("14 findings on chest X-rays: two trained models", partial(_question, names), notes="question"),
        Slide("Intended use", texts["use"], table=partial(pd.DataFrame, texts["uses"]), notes="use"),
        Slide("Images", _images, "label_counts", notes="images"),
        Slide(
            "Quality of NIH's labels",
            SENTENCES["labels"] + texts["labels"],
            None,
            partial(pd.DataFrame, LABEL_QUALITY),
            "labels",
        ),
        Slide("Training, validation and test images", _split, "train_val_test_splits", notes="split"),
        Slide("Method", SENTENCES["method"], table=partial(_method, names), notes="method"),
        Slide(f"Feature maps: {names[baseline]}", SENTENCES["layers"], f"{baseline}_layers", notes="layers"),
        *each("ROC curves", _roc, "{}_test", "roc"),
        Slide("Prevalence and risk", partial(_prevalence, names), "model_prediction_comparison", None, "prevalence"),
        *(
            Slide(f"Discrimination: {config.SUBSETS[on]}", partial(_discrimination, names, on), figure, None, "auroc")
            for on, figure in {"all": "auroc_comparison", "new_patients": "auroc_comparison_unseen"}.items()
        ),
        Slide("These two trained models: difference", partial(_compare, names), "auroc_difference", None, "difference"),
        Slide("Errors at Youden's threshold", partial(_errors, names), "errors", notes="errors"),
        Slide("Errors per image", SENTENCES["per_image"], table=partial(_per_image, names), notes="per_image"),
        *each("Calibration", _calibration, "{}_calibration", "calibration"),
        *each("Subgroups", _subgroups, "{}_subgroups", "subgroups"),
        *each("Heat maps", _heat_maps, "{}_heat_maps", "heat_maps"),
        Slide("Published mean AUROC", SENTENCES["published"], table=_published, notes="published"),
        Slide("Limits", texts["limits"] + SENTENCES["limits"], notes="limits"),
        Slide("Next steps", partial(_next_steps, pretrained), notes="next"),
    ]


def _facts(model):
    """Returns the dict of network, weights, image size and parameters of a model."""
    settings = load_inference_settings(config.home() / "cnnmodels" / f"{model}_model.h5")
    if settings is None:
        raise FileNotFoundError(f"cnnmodels/{model}_inference.json is missing.")
    return settings.attrs


def _network(model):
    try:
        return _facts(model)["network"]
    except FileNotFoundError:
        return model


def _of_each(names, describe):
    return "\n".join(f"{name}: {describe(model)}" for model, name in names.items())


def _question(names):
    return f"How well do two models, {' and '.join(names.values())}, recognize 14 findings on chest X-rays?"


def _images():
    frame = pd.concat(data.load_split().values())
    kind = "phantom images" if data.is_phantom() else "images"
    without = 100 * (frame[config.LABELS].sum(axis=1) == 0).mean()
    return (
        f"The split uses {len(frame):,} {kind} of {frame.patientID.nunique():,} patients; {without:.0f} % have none of "
        "the 14 findings. The chart shows all downloaded images."
    )


def _split():
    train, valid, test = data.load_split().values()
    return (
        f"{len(train):,} training, {len(valid):,} validation and {len(test):,} test images, "
        f"{published.SPLITS[test.attrs['split']]}. {test.seen.sum():,} test images are of patients with images in the "
        f"development set, {(~test.seen).sum():,} of {config.SUBSETS['new_patients']}."
    )


def _method(names):
    columns = {}
    for model, name in names.items():
        facts, log = _facts(model), provenance.load_training_log(model)
        best = log.loc[log.val_mean_auroc.idxmax()]
        columns[name] = {
            "initial weights": facts["weights"],
            "parameters": f"{facts['parameters']:,}",
            "image size": f"{facts['image_size']}×{facts['image_size']} pixels",
            "learning rate": "cosine schedule" if log.attrs.get("steps of the schedule") else "reduced on a plateau",
            "epoch kept": f"{best.epoch:.0f} of {len(log)}" + ", first network" * (facts["members"] > 1),
            "validation mean AUROC": f"{best.val_mean_auroc:.3f}",
            "test-time augmentation": f"mean of {1 + views} views" if (views := len(facts["transforms"])) else "none",
        }
    return pd.DataFrame(columns).rename_axis("").reset_index()


def _roc(model):
    table = results.load_auroc(model)[0]
    return f"Mean AUROC {evaluation.describe_mean(table)}. {evaluation.describe_extremes(table)}"


def _prevalence(names):
    return _of_each(names, partial(evaluation.describe_prevalence, results.load_means([*names]).reset_index()))


def _discrimination(names, subset):
    # Without enough images of these patients 400 draws no figure, but an earlier run may have left one.
    if results.load_table("comparison", ["difference"], subset=subset).difference.isna().all():
        raise FileNotFoundError(f"test_results/comparison.csv has no results on {config.SUBSETS[subset]}.")
    number = [*config.SUBSETS].index(subset)
    return _of_each(names, lambda model: f"mean AUROC {evaluation.describe_mean(results.load_auroc(model)[number])}.")


def _compare(names):
    table = results.load_table("comparison", ["conclusion"], subset="all")
    return f"{evaluation.describe_difference(table, *names.values())}\n{results.describe_seeds(names)}"


def _errors(names):
    youden = partial(results.load_table, rule="youden", subset="all")
    return _of_each(names, lambda model: evaluation.describe_errors(youden(f"operating_{model}")))


def _per_image(names):
    tables = {
        name: results.load_table(f"per_image_{model}", index=["measure"], rule="youden", subset="all")
        for model, name in names.items()
    }
    return model_card.per_image_columns(tables).rename_axis("At Youden's threshold (95 % CI)").reset_index()


def _calibration(model):
    table = partial(results.load_table, f"calibration_{model}", subset="all")
    return evaluation.describe_calibration(table(probabilities="uncalibrated"), table(probabilities="calibrated"))


def _subgroups(model):
    index = ["kind", "group", "measure"]
    return evaluation.describe_subgroups(results.load_table(f"subgroups_{model}", ["p_holm"], index))[1]


def _heat_maps(model):
    return evaluation.describe_localization(results.load_table(f"localisation_{model}"))


def _published():
    columns = ["split", "mean_auroc", "lower", "upper", "findings", "images", "this_run"]
    table = results.load_table("published", columns, index=["model"]).reset_index()
    return published.describe_published(table).reset_index().set_axis(["Model", "Split", "Mean AUROC"], axis=1)


def _next_steps(model):
    facts, sets = _facts(model), data.load_split()
    images, test = sum(map(len, sets.values())), sets["test"]
    whole, size = published.WHOLE_SET[test.attrs["split"]], facts["image_size"]
    steps = {
        f"All {whole:,} NIH images of this split instead of {images:,} images.": images < whole,
        "A split by patient, without patient overlap.": test.seen.any(),
        "ImageNet weights: others gained 0.014 to 0.020 mean AUROC.": not facts["pretrained"],
        f"224×224 instead of {size}×{size} pixels: others gained 0.010 mean AUROC.": size < 224,
        "A test at another hospital.": True,
    }
    return "\n".join(step for step, to_do in steps.items() if to_do)
