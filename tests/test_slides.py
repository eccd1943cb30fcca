"""Text of the slides: titles follow the numbers, and a slide without its files is left out."""

import functools

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, evaluation, reports
from cxr_utils.data.labels import one_hot
from cxr_utils.evaluation import calibration, resampling
from cxr_utils.reports import slides_intro, slides_results

MODELS = {"baseline": "pdx_base", "mobilenet": "pdx_mobilenet"}
NEW_PATIENTS = "patients not in the development set"
NAMES = {"baseline": "baseline", "mobilenet": "MobileNet, random initialization"}
SUMMARY = (
    "{}, 128×128 pixels. Images: of a test, 3×4 pixels.\nModel: x\n Total params: {} (1 MB)\n Trainable params: 1\n"
)


@pytest.fixture
def run(home, predictions, monkeypatch):
    """Function that writes the files of a run; `seen` is whether test patients are in the development set."""
    y_true, _, patients = predictions
    # For the text, intervals from few resamples are enough.
    monkeypatch.setattr(resampling, "bootstrap_auroc", functools.partial(resampling.bootstrap_auroc, resamples=100))

    def write(first, second, seen=True):
        table = pd.DataFrame(
            {"patientID": patients, "imgindex": [f"{image}.png" for image in range(len(patients))], "path": "x"}
        )
        table["label"] = ["|".join(np.array(config.LABELS)[row > 0]) or config.NO_FINDING for row in y_true]
        table = one_hot(table).assign(seen=seen & (patients < 30))
        table.attrs["split"] = "stratified" if seen else "patient"
        for name in ("subset", "train_set", "valid_set", "test_set"):
            data.save_frame(table, name)
        for (model, column), prob, size in zip(MODELS.items(), (first, second), ("369,470", "3,760,846"), strict=True):
            all_images = evaluation.auroc_table(y_true, prob, patients)
            new_patients = evaluation.auroc_table(y_true[:12], prob[:12], patients[:12])
            reports.save_auroc(all_images, new_patients, model, NAMES[model], "images")
            reports.save_table(evaluation.prevalence_table(y_true, prob, column), f"test_results_{model}")
            settings = evaluation.choose_thresholds(y_true, prob)
            operating = evaluation.operating_table(y_true, prob, settings.youden).reset_index()
            other = operating.assign(sensitivity=0.0, specificity=0.0)
            both = {
                ("youden", "all test images"): operating,
                ("sensitive", "all test images"): other,
                ("youden", "patients not in the development set"): other,
            }
            reports.save_table(pd.concat(both, names=["chosen by", "images"]).reset_index(), f"operating_{model}")
            both = {"uncalibrated": prob, "calibrated": evaluation.apply_platt(prob, settings)}
            tables = {name: evaluation.calibration_table(y_true, values) for name, values in both.items()}
            wide = pd.concat(tables, axis=1)
            reports.save_table(
                wide.set_axis(["_".join(name) for name in wide], axis=1).reset_index(), f"calibration_{model}"
            )
            (home / "logs").mkdir(exist_ok=True)
            (home / "logs" / f"{model}_model_summary.txt").write_text(
                SUMMARY.format(NAMES[model], size), encoding="utf-8"
            )
            log = pd.DataFrame({"epoch": [1, 2, 3], "val_mean_auroc": [0.6, 0.75, 0.7]})
            log.to_csv(home / "logs" / f"{model}_training.csv", index=False)
        differences = {
            "all test images (400)": evaluation.difference_table(y_true, first, second, patients),
            "patients not in the development set (12)": evaluation.difference_table(
                y_true[:12], first[:12], second[:12], patients[:12]
            ),
        }
        reports.save_table(pd.concat(differences, names=["images", "label"]).reset_index(), "comparison")
        ours = {
            f"{NAMES[model]} (this run)": evaluation.describe_mean(reports.load_auroc(model)[0]) for model in MODELS
        }
        reports.save_table(reports.published_table(ours, table.attrs["split"], len(table)).reset_index(), "published")

    return write


@pytest.fixture
def better(predictions):
    """Predictions with a higher AUROC than those of `predictions`."""
    y_true, y_prob, _ = predictions
    return np.clip(y_prob + 0.2 * y_true, 0, 1)


@pytest.fixture
def alike(predictions):
    """Predictions with about the same AUROC as those of `predictions`, and other noise."""
    y_true = predictions[0]
    return np.clip(0.3 * y_true + np.random.default_rng(1).random(y_true.shape) * 0.7, 0, 1)


def subgroup_rows(*rows):
    columns = ["kind", "group", "findings", "fnr", "fnr_lower", "fnr_upper"]
    reports.save_table(pd.DataFrame(rows, columns=columns), "subgroups_baseline")


def localization_row(pointing, center, mean):
    row = {"label": "all", "films": 49, "patients": 24, "share": 0.1, "iou": 0.1}
    for name, (value, lower, upper) in (("", pointing), ("centre_", center), ("mean_", mean)):
        row |= {f"{name}pointing": value, f"{name}lower": lower, f"{name}upper": upper}
    reports.save_table(pd.DataFrame([row]), "localisation_baseline")


def all_slides():
    """Text of every slide in notebook 400."""
    first, second = MODELS
    names = ("model_auroc", "calibration", "subgroups", "heat_maps")
    single = [getattr(slides_results, name) for name in names]
    return [
        slides_intro.question(first, second),
        slides_intro.intended_use(),
        slides_intro.images(),
        slides_intro.labels(),
        slides_intro.split(),
        slides_intro.method(first, second),
        slides_intro.layers(first),
        *(function(model) for function in single for model in MODELS),
        slides_results.prevalence(MODELS),
        slides_results.discrimination(first, second),
        slides_results.discrimination(first, second, NEW_PATIENTS),
        slides_results.difference(first, second),
        slides_results.errors(first, second),
        slides_results.published(),
        slides_intro.limits(),
        slides_intro.next_steps(first, second),
    ]


def test_without_files_only_slides_without_results_are_written(home):
    written = [text for text in all_slides() if text]
    expected = slides_intro.question(*MODELS), slides_intro.intended_use(), slides_intro.labels(), slides_intro.limits()
    assert [text.title for text in written] == [text.title for text in expected]
    assert "never to make a diagnosis" in written[1].title and "48.5 %" in written[2].title


def test_two_tables_of_means_are_enough_for_the_slide_on_prevalence(run, home, predictions, better):
    run(predictions[1], better)
    for path in [*(home / "subset").iterdir(), *(home / "logs").iterdir(), *(home / "test_results").iterdir()]:
        if not path.name.startswith("test_results_"):
            path.unlink()
    assert len([text for text in all_slides() if text]) == 5 and slides_results.prevalence(MODELS)


def test_slides_are_short_and_have_speaker_notes(run, predictions, better):
    run(predictions[1], better)
    subgroup_rows(
        ("sex", "male", 3, 0.5, 0.4, 0.6), ("sex", "female", 3, 0.2, 0.1, 0.3), ("view", "AP", 0, *[np.nan] * 3)
    )
    localization_row((0.2, 0.1, 0.3), (0.1, 0.05, 0.25), (0.1, 0.05, 0.25))
    written = [text for text in all_slides() if text]
    # Subgroups and boxes were written for one of the models; patients not in the development set have too few images.
    assert len(written) == len(all_slides()) - 3
    # Above a wide figure there is space for a title of one line.
    for text in [
        slides_intro.layers("baseline"),
        *(function(model) for function in (slides_results.model_auroc, slides_results.calibration) for model in MODELS),
    ]:
        assert len(text.title) <= 50, text.title
    for text in written:
        assert len(text.title) <= 100, text.title
        assert len(text.text.split()) <= 45, text.title
        assert len(text.spoken.split()) >= 20, text.title
        assert "nan" not in f"{text.title} {text.text} {text.spoken}".lower()


def test_the_model_with_the_higher_auroc_is_named_with_its_numbers(run, predictions, better):
    run(predictions[1], better)
    a, b = (reports.load_auroc(model)[0].attrs["mean"]["auroc"] for model in MODELS)
    title = slides_results.discrimination(*MODELS).title
    assert title == f"MobileNet has the higher mean AUROC: {b:.3f} versus {a:.3f}"
    text = slides_results.difference(*MODELS)
    assert text.title.startswith(f"The difference in mean AUROC is statistically significant: +{b - a:.3f} (+")
    assert (
        "the baseline higher for 0, MobileNet higher for 14" in text.text and "The 95 % CI excludes 0." in text.spoken
    )
    run(better, predictions[1])
    title = slides_results.discrimination(*MODELS).title
    assert title == f"The baseline has the higher mean AUROC: {b:.3f} versus {a:.3f}"
    assert f"mean AUROC is statistically significant: −{b - a:.3f} (−" in slides_results.difference(*MODELS).title


def test_titles_claim_no_difference_if_the_interval_includes_0(run, predictions, alike):
    run(predictions[1], alike)
    a, b = (reports.load_auroc(model)[0].attrs["mean"]["auroc"] for model in MODELS)
    text = slides_results.discrimination(*MODELS)
    assert text.title == f"Mean AUROC {a:.3f} and {b:.3f}: no statistically significant difference"
    assert "has the higher" not in text.text + text.spoken
    text = slides_results.difference(*MODELS)
    assert text.title.startswith("No statistically significant difference in mean AUROC: ")
    assert "The 95 % CI includes 0." in text.spoken


def test_patients_not_in_the_development_set_have_a_slide_if_they_have_enough_images(run, predictions, better):
    run(predictions[1], better)
    assert slides_results.discrimination(*MODELS, NEW_PATIENTS) is None
    table = pd.read_csv(config.home() / "test_results" / "comparison.csv")
    all_images = table[table.images.str.startswith("all test images")]
    reports.save_table(pd.concat([all_images, all_images.assign(images=f"{NEW_PATIENTS} (90)")]), "comparison")
    title = slides_results.discrimination(*MODELS, NEW_PATIENTS).title
    assert title.startswith(f"MobileNet has the higher mean AUROC on {NEW_PATIENTS}: ")


def test_counts_are_those_of_the_run(run, predictions, better):
    y_true, y_prob, patients = predictions
    run(y_prob, better)
    total, without = f"400 images of {len(set(patients))} patients", 100 * (y_true.sum(axis=1) == 0).mean()
    assert slides_intro.images().title == f"{total}; {without:.0f} % have none of the 14 findings"
    rarest = config.LABELS[y_true.sum(axis=0).argmin()]
    assert f"Least frequent: {rarest} ({y_true.sum(axis=0).min():.0f})" in slides_intro.images().text
    seen = (patients < 30).sum()
    text = slides_intro.split()
    assert text.title == f"{seen} of 400 test images are of patients with images in the development set"
    assert f"the {400 - seen} images of patients not in the development set" in text.text
    table = slides_intro.method(*MODELS).table.set_index("")
    assert table.columns.tolist() == ["Baseline", "MobileNet"]
    assert table.loc["parameters"].tolist() == ["369,470", "3,760,846"]
    assert table.loc["epoch kept", "Baseline"] == "2 of 3"
    assert table.loc["initial weights"].tolist() == ["random initialization"] * 2
    spoken = slides_intro.layers("baseline").spoken
    assert "128 by 128 points" in spoken and "8 by 8" in spoken
    off = np.abs(y_prob.mean(axis=0) - y_true.mean(axis=0)).mean() * 100
    assert f"the baseline by {off:.1f}" in slides_results.prevalence(MODELS).title


def test_slides_name_synthetic_images_and_patients_in_the_development_set(run, home, predictions, better):
    run(predictions[1], better)
    share, overlap = (
        f"{100 * (predictions[2] < 30).mean():.0f} %",
        "images are of patients with images in the development set",
    )
    assert f"{share} of the test {overlap}" in slides_intro.limits().text
    assert f"{share} of these {overlap}" in slides_results.discrimination(*MODELS).text
    assert "NIH's labels" in slides_intro.limits().text
    assert "phantom" not in "".join(slides_results.published().table.Split)
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Phantom: drawn\n")
    text = slides_intro.limits()
    assert "no result applies to patients" in text.text and "NIH" not in text.text + text.spoken
    assert slides_results.published().table.Split.str.endswith(", 400 phantom images").sum() == 2
    run(predictions[1], better, seen=False)
    assert overlap not in slides_intro.limits().text + slides_results.discrimination(*MODELS).text


def test_with_a_split_by_patient_all_results_are_on_new_patients_and_published_results_compare(
    run, predictions, better
):
    run(predictions[1], better, seen=False)
    assert slides_intro.split().title == "No test image is of a patient with images in the development set"
    title = slides_intro.next_steps(*MODELS).title
    assert "a split by patient" not in title and "all NIH images" in title
    assert slides_results.published().title.startswith("No listed result is for these images and this split")
    ours = {f"{NAMES[model]} (this run)": "0.800 (0.790–0.810), 14 findings" for model in MODELS}
    reports.save_table(reports.published_table(ours, "patient", 112_120).reset_index(), "published")
    text = slides_results.published()
    assert text.title == "Highest listed mean AUROC on this split: 0.841; mean AUROC in this run: 0.800 and 0.800"
    # The table contains the first and the highest result of each split.
    assert text.table.Split.value_counts().to_dict() == {
        reports.SPLITS["official"]: 2,
        reports.SPLITS["patient"]: 3,
        reports.SPLITS["stratified"]: 2,
    }
    assert "Wang 2017, ResNet-50" in text.table.Model.tolist() and {"0.835", "0.80"} <= set(text.table["Mean AUROC"])
    ours = {f"{NAMES[model]} (this run)": "n/a (too few images for every finding)" for model in MODELS}
    reports.save_table(reports.published_table(ours, "patient", 300).reset_index(), "published")
    assert slides_results.published() is None


def test_errors_are_means_over_findings_at_youdens_threshold(run, predictions, better):
    y_true, y_prob, _ = predictions
    run(y_prob, better)
    rates = []
    for prob in (y_prob, better):
        flagged = prob >= evaluation.choose_thresholds(y_true, prob).youden.to_numpy()
        rates.append(
            [
                1 - (flagged & (y_true == 1)).sum(axis=0) / y_true.sum(axis=0),
                (flagged & (y_true == 0)).sum(axis=0) / (1 - y_true).sum(axis=0),
            ]
        )
    (fnr, fpr), (fnr2, fpr2) = 100 * np.mean(rates, axis=2)
    text = slides_results.errors(*MODELS)
    assert text.title == f"Mean false-negative rate: the baseline {fnr:.0f} %, MobileNet {fnr2:.0f} %"
    assert f"false-positive rate: the baseline {fpr:.0f} %, MobileNet {fpr2:.0f} %" in text.text


def test_the_slide_on_calibration_states_the_error_before_and_after(run, predictions, better):
    y_true, y_prob, _ = predictions
    run(y_prob, better)
    before, after = (
        100 * np.mean([calibration.calibration_error(*pair) for pair in zip(y_true.T, prob.T, strict=True)])
        for prob in (y_prob, evaluation.apply_platt(y_prob, evaluation.choose_thresholds(y_true, y_prob)))
    )
    title = slides_results.calibration("baseline").title
    assert title == f"The baseline: ECE {before:.1f}, calibrated {after:.1f} points"


MEN, WOMEN = ("sex", "male", 3, 0.5, 0.4, 0.6), ("sex", "female", 3, 0.2, 0.1, 0.3)


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([MEN, WOMEN], "The baseline: false-negative rate 50 % for male, 20 % for female; intervals do not overlap"),
        (
            [("age", "18–39", 3, 0.1, 0.0, 0.2), ("age", "60+", 3, 0.4, 0.3, 0.5)],
            "The baseline: false-negative rate 40 % for age 60+, 10 % for age 18–39; intervals do not overlap",
        ),
        (
            [("sex", "male", 3, 0.5, 0.2, 0.6), WOMEN],
            "The baseline: false-negative rates by sex; 95 % CIs overlap",
        ),
        # Groups of different kinds contain the same patients and are not compared.
        ([MEN, ("view", "AP", 3, 0.2, 0.1, 0.3)], "The groups are too small to compare"),
    ],
)
def test_subgroup_slide_states_whether_intervals_overlap(home, rows, title):
    subgroup_rows(*rows, ("view", "PA", 0, *[np.nan] * 3))
    text = slides_results.subgroups("baseline")
    assert text.title == title and text.text.startswith("Too few images with enough findings to evaluate: view PA.\n")


@pytest.mark.parametrize(
    ("pointing", "rate", "overlap"),
    [
        ((0.5, 0.4, 0.6), "50 %", "do not overlap"),
        ((0.35, 0.25, 0.45), "35 %", "overlap"),
        ((0.0, 0.0, 0.05), "0 %", "do not overlap"),
    ],
)
def test_heat_map_slide_states_whether_intervals_overlap(home, pointing, rate, overlap):
    localization_row(pointing, (0.1, 0.05, 0.2), (0.2, 0.1, 0.3))
    text = slides_results.heat_maps("baseline")
    assert text.title == (
        f"Hottest point in box: the baseline {rate}, better input-independent baseline 20 %; intervals {overlap}"
    )
    assert f"Hottest point in the box: {rate} (" in text.text and "10 % (5–20 %)" in text.text
