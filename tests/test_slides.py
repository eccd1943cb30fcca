"""The list of slides: which there are, what is left out, and that numbers and sentences are those of the run."""

import functools
import json
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, evaluation, reports
from cxr_utils.evaluation import resampling
from cxr_utils.reports import published

MODELS = list(config.RISK_COLUMNS)
FACTS = {
    "baseline": {"network": "baseline", "weights": "random initialization", "image_size": 128, "parameters": 369_470},
    "mobilenet": {
        "network": "MobileNet",
        "weights": "random initialization",
        "image_size": 128,
        "parameters": 3_760_846,
    },
}
FIGURES = [
    "label_counts",
    "train_val_test_splits",
    "baseline_layers",
    "model_prediction_comparison",
    "auroc_comparison",
    "auroc_comparison_unseen",
    "auroc_difference",
    "errors",
    *(f"{model}_{kind}" for kind in ("test", "calibration", "subgroups", "heat_maps") for model in MODELS),
]
# Figures of the slides in order; None: a slide with a table or text only.
ORDER = [
    *[None, None, "label_counts", None, "train_val_test_splits", None, "baseline_layers"],
    *["baseline_test", "mobilenet_test", "model_prediction_comparison", "auroc_comparison", "auroc_comparison_unseen"],
    *["auroc_difference", "errors", None, "baseline_calibration", "mobilenet_calibration"],
    *["baseline_subgroups", "mobilenet_subgroups", "baseline_heat_maps", "mobilenet_heat_maps", None, None, None],
]
# Positions of the slides without a figure.
QUESTION, USE, LABELS, METHOD, PER_IMAGE, PUBLISHED, LIMITS, NEXT = (
    number for number, name in enumerate(ORDER) if name is None
)
# Each file with the positions of the slides that need it.
NEEDED = {
    "logs/mobilenet_training.csv": [METHOD],
    "cnnmodels/mobilenet_inference.json": [METHOD, NEXT],
    "cnnmodels/baseline_inference.json": [METHOD],
    **{
        f"subset/{part}_set.pkl": [ORDER.index("label_counts"), ORDER.index("train_val_test_splits"), NEXT]
        for part in ("train", "valid", "test")
    },
    "test_results/auroc_baseline.csv": [
        ORDER.index(name) for name in ("baseline_test", "auroc_comparison", "auroc_comparison_unseen")
    ],
    "test_results/test_results_baseline.csv": [ORDER.index("model_prediction_comparison")],
    "test_results/comparison.csv": [
        ORDER.index(name) for name in ("auroc_comparison", "auroc_comparison_unseen", "auroc_difference")
    ],
    "test_results/operating_mobilenet.csv": [ORDER.index("errors")],
    "test_results/per_image_mobilenet.csv": [PER_IMAGE],
    "test_results/calibration_mobilenet.csv": [ORDER.index("mobilenet_calibration")],
    "test_results/subgroups_baseline.csv": [ORDER.index("baseline_subgroups")],
    "test_results/localisation_baseline.csv": [ORDER.index("baseline_heat_maps")],
    "test_results/published.csv": [PUBLISHED],
    **{f"figs/{name}.png": [ORDER.index(name)] for name in FIGURES},
}


def write_facts(home, model, **changes):
    """Writes `cnnmodels/<model>_inference.json` as 300 does; without the model itself its SHA-256 is not compared."""
    row = {"youden": 0.5, "sensitive": None, "slope": 1.0, "intercept": 0.0}
    content = {"model_sha256": "", "images": "", "validation_images": 400, "synthetic": False, "transforms": []}
    pretrained = changes.get("weights", FACTS[model]["weights"]) != "random initialization"
    content |= {"pretrained": pretrained, "members": 1, **FACTS[model], **changes}
    path = home / "cnnmodels" / f"{model}_inference.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content | {"findings": dict.fromkeys(config.LABELS, row)}), encoding="utf-8")


def localization_table(hits):
    """A table of `evaluation.localization_table`: 49 boxed findings, and this share of hits of the heat maps."""
    row = {"films": 49, "patients": 24}
    for prefix, rate in (("", hits), ("centre_", 0.12), ("mean_", 0.18)):
        values = {"pointing": rate, "lower": rate * 0.8, "upper": rate * 1.2, "share": 0.1, "iou": 0.1}
        row |= {prefix + name: value for name, value in values.items()}
    return pd.DataFrame([row], pd.Index(["all"], name="label"))


def write_run(home, predictions, leaking=True):
    """Writes the files of a run and returns its tables; `leaking`: as with a split by image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_HOME", str(home))
        # For the text, intervals from few resamples are enough.
        for name in ("bootstrap_auroc", "bootstrap_share"):
            patch.setattr(resampling, name, functools.partial(getattr(resampling, name), resamples=50))
        return _write(home, predictions, leaking)


def _write(home, predictions, leaking):
    y_true, first, patients = predictions
    second = np.clip(first + 0.2 * y_true, 0, 1)
    frame = pd.DataFrame(
        {"patientID": patients, "imgindex": [f"{image}.png" for image in range(len(patients))], "path": "x", "age": 50}
    )
    frame = frame.assign(gender=np.where(patients % 2, "M", "F"), viewposition="PA", seen=leaking & (patients < 30))
    frame["label"] = ["|".join(np.array(config.LABELS)[row > 0]) or config.NO_FINDING for row in y_true]
    frame[config.LABELS] = y_true.astype(int)
    sets = frame[:200].copy(), frame[200:250].copy(), frame.copy()
    for part in sets:
        part.attrs = {"split": "stratified" if leaking else "patient", "digest": data.split_digest(*sets)}
    data.save_split(frame, *sets)
    subsets = {"all": np.ones(len(frame), bool)} | ({"new_patients": ~frame.seen.to_numpy()} if leaking else {})
    tables, ours = {}, {}
    for (model, column), prob in zip(config.RISK_COLUMNS.items(), (first, second), strict=True):
        write_facts(home, model)
        settings = evaluation.choose_thresholds(y_true, prob)
        both = {"uncalibrated": prob, "calibrated": evaluation.apply_platt(prob, settings)}
        parts = {"auroc": {}, "operating": {}, "per_image": {}, "calibration": {}}
        for subset, rows in subsets.items():
            parts["auroc"][subset] = evaluation.auroc_table(y_true[rows], prob[rows], patients[rows])
            for rule in config.THRESHOLD_RULES:
                table = evaluation.operating_table(y_true[rows], prob[rows], settings[rule], patients[rows])
                parts["operating"][rule, subset] = table
                parts["per_image"][rule, subset] = evaluation.per_image_table(
                    y_true[rows], prob[rows], settings[rule], patients[rows]
                )
            for kind, values in both.items():
                table = evaluation.calibration_table(y_true[rows], values[rows], patients[rows])
                parts["calibration"][subset, kind] = table
        reports.save_auroc(parts["auroc"], model, FACTS[model]["network"], "Images: of a test")
        keys = {"operating": ["rule", "subset", "label"], "per_image": ["rule", "subset", "measure"]}
        for name, levels in (keys | {"calibration": ["subset", "probabilities", "label"]}).items():
            saved = pd.concat(parts[name], names=levels)
            reports.save_table(saved.reset_index(), f"{name}_{model}")
        parts["prevalence"] = evaluation.prevalence_table(y_true, prob, column)
        reports.save_table(parts["prevalence"], f"test_results_{model}")
        parts["subgroups"] = evaluation.subgroup_table(frame, y_true, prob, settings.youden)
        reports.save_table(parts["subgroups"].reset_index(), f"subgroups_{model}")
        parts["heat_maps"] = localization_table(0.5 if model == "baseline" else 0.2)
        reports.save_table(parts["heat_maps"].reset_index(), f"localisation_{model}")
        log = pd.DataFrame({"epoch": [1, 2, 3], "val_mean_auroc": [0.6, 0.75, 0.7]})
        (home / "logs").mkdir(exist_ok=True)
        log.to_csv(home / "logs" / f"{model}_training.csv", index=False)
        ours[FACTS[model]["network"]] = parts["auroc"]["all"]
        tables[model] = parts
    tables["differences"] = {
        subset: evaluation.difference_table(y_true[rows], first[rows], second[rows], patients[rows], 0.01)
        for subset, rows in subsets.items()
    }
    saved = pd.concat(tables["differences"], names=["subset", "label"])
    reports.save_table(saved.reset_index(), "comparison")
    tables["published"] = reports.published_table(ours, sets[0].attrs["split"], len(frame))
    reports.save_table(tables["published"], "published")
    (home / "figs").mkdir()
    for name in FIGURES:
        cv2.imwrite(home / "figs" / f"{name}.png", np.full((440, 1190, 3), 128, np.uint8))
    return tables


@pytest.fixture(scope="module")
def written(tmp_path_factory, predictions):
    """Function that returns the folder and the tables of a run, written once."""

    @functools.cache
    def write(leaking):
        home = tmp_path_factory.mktemp("run")
        return home, write_run(home, predictions, leaking)

    return write


@pytest.fixture
def run(home, written):
    """Function that puts the files of a run into `home` and returns its tables."""

    def put(leaking=True):
        folder, tables = written(leaking)
        shutil.copytree(folder, home, dirs_exist_ok=True)
        return tables

    return put


@pytest.fixture
def titles(run):
    """Titles of all slides of a complete run, whose files are in `home`."""
    run()
    return [slide.title for slide in reports.build_slides()[0]]


def note_phantom(home):
    (home / "data").mkdir(exist_ok=True)
    (home / "data" / config.RELEASE_NOTE).write_text("Drawings of a test\nkind: phantom\n", encoding="utf-8")


def text_of(slide):
    """All words that a slide shows."""
    return " ".join([slide.title, slide.sentence, *([] if slide.table is None else slide.table.to_numpy().ravel())])


@pytest.mark.slow
def test_a_complete_run_has_every_slide_in_order(run):
    run()
    slides, left_out = reports.build_slides()
    assert left_out == [] and [slide.figure for slide in slides] == ORDER
    assert len({slide.title for slide in slides}) == len(slides)
    for slide in slides:
        assert 3 <= len(slide.title) <= 60, slide.title
        assert 50 <= len(slide.sentence) <= 300, slide.title
        assert slide.notes.replace(" %", "\u00a0%").endswith(slide.sentence), slide.title
        assert len(slide.notes) > len(slide.sentence) + 60, slide.title
        assert "nan" not in text_of(slide).lower()
        # A slide shows one figure or one table.
        assert slide.figure is None or slide.table is None
    assert [slides.index(slide) for slide in slides if slide.table is not None] == [
        USE, LABELS, METHOD, PER_IMAGE, PUBLISHED,
    ]  # fmt: skip
    for model in MODELS:
        assert sum(FACTS[model]["network"] in slide.title for slide in slides) == 4 + (model == "baseline")


@pytest.mark.slow
def test_without_files_only_slides_without_results_are_built(home, run):
    slides, left_out = reports.build_slides()
    run()
    titles = [slide.title for slide in reports.build_slides()[0]]
    kept = [titles[number] for number in (QUESTION, USE, LABELS, LIMITS)]
    # Without `cnnmodels/`, a model is called by its key.
    assert [slide.title for slide in slides] == kept
    assert left_out == [title.replace("MobileNet", "mobilenet") for title in titles if title not in kept]


def test_two_tables_of_means_are_enough_for_the_slide_on_prevalence(home, run):
    run()
    for path in [path for path in home.glob("*/*") if not path.match("test_results/test_results_*")]:
        if path.parent.name != "figs":
            path.unlink()
    slides, _ = reports.build_slides()
    figures = {slide.figure for slide in slides}
    assert "model_prediction_comparison" in figures and not figures & {"errors", "auroc_difference", "baseline_test"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_leaves_out_the_slides_that_need_it(home, titles, name):
    (home / name).rename(home / "gone")
    slides, left_out = reports.build_slides()
    needed = NEEDED[name]
    assert [slide.figure for slide in slides] == [figure for i, figure in enumerate(ORDER) if i not in needed]
    assert len(left_out) == len(needed)
    # A model whose name is not known is called by its key.
    if not name.startswith("cnnmodels"):
        assert left_out == [titles[number] for number in needed]
    else:
        model = name.removeprefix("cnnmodels/").partition("_")[0]
        assert sum(slide.title.endswith(f": {model}") for slide in slides) == 4 + (model == "baseline")


def test_sentences_are_those_of_the_notebooks(run):
    tables = run()
    slides = {slide.figure: slide.sentence for slide in reports.build_slides()[0]}
    for model in MODELS:
        parts = tables[model]
        both = (parts["calibration"]["all", kind] for kind in ("uncalibrated", "calibrated"))
        expected = {
            f"{model}_test": evaluation.describe_extremes(parts["auroc"]["all"]),
            "model_prediction_comparison": evaluation.describe_prevalence(
                parts["prevalence"], config.RISK_COLUMNS[model]
            ),
            "auroc_comparison": evaluation.describe_mean(parts["auroc"]["all"]),
            "auroc_comparison_unseen": evaluation.describe_mean(parts["auroc"]["new_patients"]),
            "auroc_difference": evaluation.describe_difference(tables["differences"]["all"], "baseline", "MobileNet"),
            "errors": evaluation.describe_errors(parts["operating"]["youden", "all"]),
            f"{model}_calibration": evaluation.describe_calibration(*both),
            f"{model}_subgroups": evaluation.describe_subgroups(parts["subgroups"])[1],
            f"{model}_heat_maps": evaluation.describe_localization(parts["heat_maps"]),
        }
        assert evaluation.describe_mean(parts["auroc"]["all"]) in slides[f"{model}_test"]
        for figure, sentence in expected.items():
            # A percent sign stays on the line of its number.
            assert sentence.replace(" %", "\u00a0%") in slides[figure]
    assert not any(" %" in sentence for sentence in slides.values())


def test_counts_are_those_of_the_run(run, predictions):
    y_true, _, patients = predictions
    run()
    slides = {slide.figure: slide for slide in reports.build_slides()[0]}
    images, split = slides["label_counts"].sentence, slides["train_val_test_splits"].sentence
    without = y_true.sum(axis=1) == 0
    without = [*without[:250], *without]  # the training, validation and test set of this run
    for number in (650, len(set(patients)), round(100 * np.mean(without))):
        assert f" {number}" in images
    seen = (patients < 30).sum()
    for number in (200, 50, 400, seen, 400 - seen):
        assert f"{number} " in split
    assert reports.SPLITS["stratified"] in split


def test_the_table_of_methods_has_the_facts_of_each_model(home, run):
    run()
    matrices = [[[1, 0, shift], [0, 1, 0]] for shift in (1, 2, 3, 4)]
    changes = {"weights": "weights from best", "image_size": 224, "members": 3, "transforms": matrices}
    write_facts(home, "mobilenet", network="DenseNet121", **changes)
    (home / "logs" / "mobilenet_training.json").write_text('{"steps of the schedule": 100}')
    table = reports.build_slides()[0][METHOD].table.set_index("")
    assert list(table) == ["baseline", "DenseNet121"]
    assert table.baseline.drop("learning rate").tolist() == [
        "random initialization", "369,470", "128×128 pixels", "2 of 3", "0.750", "none",
    ]  # fmt: skip
    assert table.DenseNet121.tolist()[:3] == ["weights from best", "3,760,846", "224×224 pixels"]
    assert "plateau" in table.baseline["learning rate"] and "cosine" in table.DenseNet121["learning rate"]
    assert "first network" in table.DenseNet121["epoch kept"] and "5" in table.DenseNet121["test-time augmentation"]


def test_published_results_have_every_row(run):
    tables = run()
    table = reports.build_slides()[0][PUBLISHED].table
    expected = reports.describe_published(tables["published"])
    assert table.to_numpy().tolist() == expected.reset_index().to_numpy().tolist()
    assert len(table) == len(published.PUBLISHED) + 2


@pytest.mark.slow
def test_patients_not_in_the_development_set_have_a_slide_only_if_they_have_results(run):
    tables = run()["differences"]
    title = reports.build_slides()[0][ORDER.index("auroc_comparison_unseen")].title
    assert config.SUBSETS["new_patients"] in title
    # Too few images; the figure of an earlier run is still there.
    few = tables["new_patients"].assign(difference=np.nan)
    saved = pd.concat({"all": tables["all"], "new_patients": few}, names=["subset", "label"])
    reports.save_table(saved.reset_index(), "comparison")
    assert reports.build_slides()[1] == [title]
    # With a split by patient, all test images are of such patients.
    run(leaking=False)
    slides, left_out = reports.build_slides()
    assert left_out == [title]
    assert reports.SPLITS["patient"] in slides[ORDER.index("train_val_test_splits")].sentence


@pytest.mark.slow
def test_next_steps_are_those_that_the_run_has_not_taken(home, run, monkeypatch):
    run()
    steps = reports.build_slides()[0][NEXT].sentence.splitlines()
    assert len(steps) == 5
    assert "109,577" in steps[0] and "650" in steps[0] and "128×128" in steps[3]
    write_facts(home, "mobilenet", weights="ImageNet weights", image_size=224)
    assert reports.build_slides()[0][NEXT].sentence.splitlines() == [*steps[:2], steps[4]]
    run(leaking=False)
    write_facts(home, "mobilenet", weights="ImageNet weights", image_size=224)
    monkeypatch.setitem(published.WHOLE_SET, "patient", 650)
    assert reports.build_slides()[0][-1].sentence.splitlines() == steps[4:]


def test_phantom_images_are_named(home, run):
    run()
    on_nih, _ = reports.build_slides()
    assert not any("phantom" in text_of(slide).lower() for slide in on_nih)
    assert "NIH" in on_nih[LIMITS].sentence
    note_phantom(home)
    slides, _ = reports.build_slides()
    named = [number for number, slide in enumerate(slides) if "phantom" in text_of(slide).lower()]
    assert named == [USE, ORDER.index("label_counts"), LABELS, PUBLISHED, LIMITS]
    assert "urgency" in text_of(on_nih[USE]) and "urgency" not in text_of(slides[USE])
    assert "NIH" not in slides[LIMITS].sentence
    # What is said about NIH's labels is the same.
    assert slides[LABELS].sentence.startswith(on_nih[LABELS].sentence)
    shown = slides[LABELS].table.iloc[:, [0, 2, 3]].to_numpy().tolist()
    assert [[text.split(" (")[0] for text in row] for row in shown] == [
        ["pneumothorax", "48.5 %", "49.7 %"],
        ["nodule or mass", "56.5 %", "45.4 %"],
        ["airspace opacity", "80.8 %", "44.8 %"],
    ]


def test_a_table_of_an_earlier_version_is_named_with_its_notebook(home, run):
    run()
    table = pd.read_csv(home / "test_results" / "operating_mobilenet.csv")
    reports.save_table(table.rename(columns={"rule": "chosen by", "subset": "images"}), "operating_mobilenet")
    with pytest.raises(ValueError, match=r"operating_mobilenet\.csv .*rule.*311-testing_pretrained_mobilenet"):
        reports.build_slides()


def test_the_difference_has_the_sign_of_the_comparison(run):
    tables = run()
    slides, _ = reports.build_slides(MODELS[::-1])
    (slide,) = [slide for slide in slides if slide.figure == "auroc_difference"]
    names = [FACTS[model]["network"] for model in MODELS[::-1]]
    expected = evaluation.describe_difference(tables["differences"]["all"], *names)
    assert slide.sentence.replace("\u00a0", " ").startswith(expected)


def test_the_difference_stands_next_to_the_spread_over_training_seeds(home, run):
    run()
    best = [0.71, 0.74, 0.725]
    seeds = pd.DataFrame({"member": ["mobilenet", "mobilenet_m2", "mobilenet_m3"], "val_mean_auroc": best})
    reports.save_table(seeds, "seeds_mobilenet")
    (slide,) = [slide for slide in reports.build_slides()[0] if slide.figure == "auroc_difference"]
    assert f"MobileNet {np.std(best, ddof=1):.3f} (3 seeds)" in slide.sentence and len(slide.sentence) <= 400
    assert reports.describe_seeds({"baseline": "CNN"}).count("CNN") == 0


def test_errors_per_image_of_both_models_are_on_one_slide(run):
    tables = run()
    table = reports.build_slides()[0][PER_IMAGE].table
    assert table.iloc[:, 0].tolist() == list(evaluation.PER_IMAGE.values())
    for model in MODELS:
        limits = tables[model]["per_image"]["youden", "all"][["value", "lower", "upper"]].to_numpy()
        shown = [[float(number) for number in re.findall(r"[\d.]+", text)] for text in table[FACTS[model]["network"]]]
        assert np.array(shown) == pytest.approx(limits, abs=0.0051)
