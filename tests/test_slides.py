"""The talk's words: titles follow the numbers, and nothing is said of what the run has not written."""

import functools

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, evaluation, reports
from cxr_utils.data.labels import one_hot
from cxr_utils.evaluation import calibration, resampling

MODELS = {"baseline": "pdx_base", "mobilenet": "pdx_mobilenet"}
NAMES = {"baseline": "baseline", "mobilenet": "MobileNet, random initialization"}
SUMMARY = (
    "{}, 128×128 pixels. Images: of a test, 3×4 pixels.\nModel: x\n Total params: {} (1 MB)\n Trainable params: 1\n"
)


@pytest.fixture
def run(home, predictions, monkeypatch):
    """Function that writes a run of two models with these predictions, on test images all of unseen patients or not."""
    y_true, _, patients = predictions
    # Intervals of few draws do for words.
    monkeypatch.setattr(resampling, "bootstrap", functools.partial(resampling.bootstrap_auroc, resamples=100))

    def write(first, second, seen=True):
        table = pd.DataFrame(
            {"patientID": patients, "imgindex": [f"{image}.png" for image in range(len(patients))], "path": "x"}
        )
        table["label"] = ["|".join(np.array(config.LABELS)[row > 0]) or config.NO_FINDING for row in y_true]
        table = one_hot(table).assign(seen=seen & (patients < 30))
        table.attrs["split"] = "stratified" if seen else "patient"
        for name in ("subset", "train_set", "valid_set", "test_set"):
            data.save_frame(table, name)
        for (model, column), prob, size in zip(MODELS.items(), (first, second), ("369,470", "3,760,846")):
            everyone = evaluation.auroc_table(y_true, prob, patients)
            unseen = evaluation.auroc_table(y_true[:12], prob[:12], patients[:12])
            reports.save_auroc(everyone, unseen, model, NAMES[model], "images")
            reports.save_table(evaluation.prevalence_table(y_true, prob, column), f"test_results_{model}")
            decided = evaluation.choose_thresholds(y_true, prob)
            operating = evaluation.operating_table(y_true, prob, decided.youden).reset_index()
            other = operating.assign(sensitivity=0.0, specificity=0.0)
            both = {
                ("youden", "all images"): operating,
                ("sensitive", "all images"): other,
                ("youden", "unseen patients"): other,
            }
            reports.save_table(pd.concat(both, names=["chosen by", "images"]).reset_index(), f"operating_{model}")
            scaled = evaluation.apply_platt(prob, decided)
            measured = {"as predicted": prob, "scaled on validation images": scaled}
            tables = {name: evaluation.calibration_table(y_true, values) for name, values in measured.items()}
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
            "unseen patients (12)": evaluation.difference_table(y_true[:12], first[:12], second[:12], patients[:12]),
        }
        reports.save_table(pd.concat(differences, names=["images", "label"]).reset_index(), "comparison")
        ours = {
            f"{NAMES[model]} (this run)": evaluation.describe_mean(reports.load_auroc(model)[0]) for model in MODELS
        }
        reports.save_table(reports.published_table(ours, table.attrs["split"], len(table)).reset_index(), "published")

    return write


@pytest.fixture
def better(predictions):
    """Predictions that tell images apart better than those of `predictions`."""
    y_true, y_prob, _ = predictions
    return np.clip(y_prob + 0.2 * y_true, 0, 1)


@pytest.fixture
def alike(predictions):
    """Predictions of the same strength as those of `predictions`, with other noise."""
    y_true = predictions[0]
    return np.clip(0.3 * y_true + np.random.default_rng(1).random(y_true.shape) * 0.7, 0, 1)


def subgroup_rows(*rows):
    columns = ["kind", "group", "findings", "fnr", "fnr_lower", "fnr_upper"]
    reports.save_table(pd.DataFrame(rows, columns=columns), "subgroups_baseline")


def localized(pointing, centre, mean):
    row = {"label": "all", "images": 49, "patients": 24, "share": 0.1, "iou": 0.1}
    for name, (value, lower, upper) in (("", pointing), ("centre_", centre), ("mean_", mean)):
        row |= {f"{name}pointing": value, f"{name}lower": lower, f"{name}upper": upper}
    reports.save_table(pd.DataFrame([row]), "localisation_baseline")


def all_words():
    """Every slide that notebook 400 asks for."""
    first, second = MODELS
    single = [reports.tested, reports.calibration, reports.subgroups, reports.heat_maps]
    return [
        reports.question(first, second), reports.use(), reports.data(), reports.labels(), reports.split(), reports.method(first, second),
        reports.layers(first), *(words(model) for words in single for model in MODELS), reports.prevalence(MODELS),
        reports.discrimination(first, second), reports.discrimination(first, second, "unseen patients"),
        reports.difference(first, second), reports.errors(first, second), reports.published(),
        reports.limits(), reports.further(first, second),
    ]  # fmt: skip


def test_where_nothing_was_written_only_what_needs_no_number_is_said(home):
    spoken = [words for words in all_words() if words]
    assert spoken == [reports.question(*MODELS), spoken[1], spoken[2], reports.limits()]
    assert "never makes a diagnosis" in spoken[1].title and "48.5%" in spoken[2].title


def test_two_tables_of_means_are_enough_for_one_more(run, home, predictions, better):
    run(predictions[1], better)
    for path in [*(home / "subset").iterdir(), *(home / "logs").iterdir(), *(home / "test_results").iterdir()]:
        if not path.name.startswith("test_results_"):
            path.unlink()
    assert len([words for words in all_words() if words]) == 5 and reports.prevalence(MODELS)


def test_slides_are_short_and_say_what_is_to_be_spoken(run, predictions, better):
    run(predictions[1], better)
    subgroup_rows(
        ("sex", "men", 3, 0.5, 0.4, 0.6), ("sex", "women", 3, 0.2, 0.1, 0.3), ("view", "AP", 0, *[np.nan] * 3)
    )
    localized((0.2, 0.1, 0.3), (0.1, 0.05, 0.25), (0.1, 0.05, 0.25))
    written = [words for words in all_words() if words]
    # Of both models' pairs only the baseline's subgroups and boxes were written; too few images are of unseen patients.
    assert len(written) == len(all_words()) - 3
    # Above a wide figure there is room for a title of one line.
    for words in [
        reports.layers("baseline"),
        *(of(model) for of in (reports.tested, reports.calibration) for model in MODELS),
    ]:
        assert len(words.title) <= 50
    for words in written:
        assert len(words.text.split()) <= 45 and len(words.title) <= 100 and len(words.spoken.split()) >= 20, (
            words.title
        )
        assert "nan" not in f"{words.title} {words.text} {words.spoken}".lower()


def test_the_better_model_is_named_with_its_numbers(run, predictions, better):
    run(predictions[1], better)
    a, b = (reports.load_auroc(model)[0].attrs["mean"]["auroc"] for model in MODELS)
    assert (
        reports.discrimination(*MODELS).title
        == f"MobileNet tells images apart better: mean AUROC {b:.3f} against {a:.3f}"
    )
    assert reports.difference(*MODELS).title.startswith(
        f"The difference is more than noise: mean AUROC +{b - a:.3f} (+"
    )
    assert "the baseline at 0, MobileNet at 14" in reports.difference(*MODELS).text
    run(better, predictions[1])
    assert (
        reports.discrimination(*MODELS).title
        == f"The baseline tells images apart better: mean AUROC {b:.3f} against {a:.3f}"
    )
    assert f"mean AUROC −{b - a:.3f} (−" in reports.difference(*MODELS).title


def test_what_the_interval_does_not_tell_the_title_does_not_tell(run, predictions, alike):
    run(predictions[1], alike)
    a, b = (reports.load_auroc(model)[0].attrs["mean"]["auroc"] for model in MODELS)
    assert (
        reports.discrimination(*MODELS).title
        == f"It can't be told which network is better: mean AUROC {a:.3f} and {b:.3f}"
    )
    assert "better" not in reports.discrimination(*MODELS).text
    assert reports.difference(*MODELS).title.startswith("The difference can't be told from noise: mean AUROC")


def test_unseen_patients_are_spoken_of_once_there_are_enough(run, predictions, better):
    run(predictions[1], better)
    assert reports.discrimination(*MODELS, "unseen patients") is None
    table = pd.read_csv(config.home() / "test_results" / "comparison.csv")
    unseen = table[table.images.str.startswith("all")].assign(images="unseen patients (90)")
    reports.save_table(pd.concat([table[table.images.str.startswith("all")], unseen]), "comparison")
    assert reports.discrimination(*MODELS, "unseen patients").title.startswith(
        "Unseen patients: MobileNet tells images apart better: mean AUROC"
    )


def test_counts_are_those_of_the_run(run, predictions, better):
    y_true, y_prob, patients = predictions
    run(y_prob, better)
    none = (y_true.sum(axis=1) == 0).mean()
    assert (
        reports.data().title == f"400 images of {len(set(patients))} patients; {none:.0%} show none of the 14 findings"
    )
    rarest = config.LABELS[y_true.sum(axis=0).argmin()]
    assert f"Rarest: {rarest} ({y_true.sum(axis=0).min():.0f})" in reports.data().text
    seen = (patients < 30).sum()
    assert reports.split().title == f"{seen} of 400 test images show a patient whom training or validation has seen"
    assert f"the {400 - seen} images of unseen patients" in reports.split().text
    table = reports.method(*MODELS).table.set_index("")
    assert table.columns.tolist() == ["Baseline", "MobileNet"]
    assert (
        table.loc["parameters"].tolist() == ["369,470", "3,760,846"] and table.loc["epoch kept", "Baseline"] == "2 of 3"
    )
    assert table.loc["starts from"].tolist() == ["random weights", "random initialization"]
    assert "128 by 128 pixels" in reports.layers("baseline").spoken and "8 by 8" in reports.layers("baseline").spoken
    off = np.abs(y_prob.mean(axis=0) - y_true.mean(axis=0)).mean() * 100
    assert f"the baseline by {off:.1f}" in reports.prevalence(MODELS).title


def test_limits_and_comparisons_name_synthetic_images_and_patients_already_seen(run, home, predictions, better):
    run(predictions[1], better)
    share = f"{(predictions[2] < 30).mean():.0%} of "
    assert f"{share}the test images show patients already seen" in reports.limits().text
    assert f"{share}these images show patients already seen" in reports.discrimination(*MODELS).text
    assert "NIH's labels" in reports.limits().text and "phantom" not in "".join(reports.published().table.Split)
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Phantom: drawn\n")
    assert (
        "no number here is about patients" in reports.limits().text
        and "NIH" not in reports.limits().text + reports.limits().spoken
    )
    assert reports.published().table.Split.str.endswith(", 400 phantom images").sum() == 2
    run(predictions[1], better, seen=False)
    assert "already seen" not in reports.limits().text + reports.discrimination(*MODELS).text


def test_a_split_by_patient_does_not_leak_and_has_others_to_compare_with(run, predictions, better):
    run(predictions[1], better, seen=False)
    assert reports.split().title == "No test image shows a patient whom training or validation has seen"
    assert (
        "new patients" not in reports.further(*MODELS).title and "all of NIH's images" in reports.further(*MODELS).title
    )
    assert reports.published().title.startswith("No published figure is of these images and this split")
    ours = {f"{NAMES[model]} (this run)": "0.800 (0.790–0.810), 14 findings" for model in MODELS}
    reports.save_table(reports.published_table(ours, "patient", 112_120).reset_index(), "published")
    words = reports.published()
    assert words.title == "On this split the best mean AUROC of those listed is 0.841; here it is 0.800 and 0.800"
    # Each split is named, by its first and its best result.
    assert words.table.Split.value_counts().to_dict() == {
        "NIH's official split": 2, "random split by patient": 3, "split by image (leaks)": 2,
    }  # fmt: skip
    assert "Wang 2017, ResNet-50" in words.table.Model.tolist() and {"0.835", "0.80"} <= set(words.table["Mean AUROC"])
    ours = {f"{NAMES[model]} (this run)": "n/a, no finding on 10 images" for model in MODELS}
    reports.save_table(reports.published_table(ours, "patient", 300).reset_index(), "published")
    assert reports.published() is None


def test_errors_are_means_over_findings_at_youden_s_threshold(run, predictions, better):
    y_true, y_prob, _ = predictions
    run(y_prob, better)
    shares = []
    for prob in (y_prob, better):
        called = prob >= evaluation.choose_thresholds(y_true, prob).youden.to_numpy()
        shares.append(
            [
                1 - (called & (y_true == 1)).sum(axis=0) / y_true.sum(axis=0),
                (called & (y_true == 0)).sum(axis=0) / (1 - y_true).sum(axis=0),
            ]
        )
    (missed, vain), (missed2, vain2) = np.mean(shares, axis=2)
    words = reports.errors(*MODELS)
    assert (
        words.title == f"Of images with a finding, the baseline misses {missed:.0%} and MobileNet misses {missed2:.0%}"
    )
    assert f"the baseline {vain:.0%}, MobileNet {vain2:.0%}" in words.text


def test_calibration_tells_both_errors(run, predictions, better):
    y_true, y_prob, _ = predictions
    run(y_prob, better)
    raw = 100 * np.mean([calibration.calibration_error(true, prob) for true, prob in zip(y_true.T, y_prob.T)])
    title = reports.calibration("baseline").title
    assert title.startswith(f"The baseline is {raw:.1f} points off, after scaling ")


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([("sex", "men", 3, 0.5, 0.4, 0.6), ("sex", "women", 3, 0.2, 0.1, 0.3)], "The baseline misses more in men than in women: 50% against 20%"),
        ([("age", "18–39", 3, 0.1, 0.0, 0.2), ("age", "60+", 3, 0.4, 0.3, 0.5)], "The baseline misses more in age 60+ than in age 18–39: 40% against 10%"),
        ([("sex", "men", 3, 0.5, 0.2, 0.6), ("sex", "women", 3, 0.2, 0.1, 0.3)], "It can't be told whether the baseline misses more in one group than in another"),
        # Groups of two kinds are not of different patients.
        ([("sex", "men", 3, 0.5, 0.4, 0.6), ("view", "AP", 3, 0.2, 0.1, 0.3)], "The groups are too small to be compared"),
    ],
)  # fmt: skip
def test_subgroups_differ_where_their_intervals_lie_apart(home, rows, title):
    subgroup_rows(*rows, ("view", "PA", 0, *[np.nan] * 3))
    words = reports.subgroups("baseline")
    assert words.title == title and words.text.startswith("Too few images to judge: view PA.\n")


@pytest.mark.parametrize(
    ("pointing", "title"),
    [
        ((0.5, 0.4, 0.6), "The baseline looks at the finding more often than a blind map: 50% hits, a blind map 20%"),
        ((0.35, 0.25, 0.45), "Whether the baseline looks at the finding can't be told: 35% hits, a blind map 20%"),
        ((0.0, 0.0, 0.05), "The baseline looks at the finding less often than a blind map: 0% hits, a blind map 20%"),
    ],
)
def test_where_it_looks_is_claimed_beyond_the_blind_maps_intervals_alone(home, pointing, title):
    localized(pointing, (0.1, 0.05, 0.2), (0.2, 0.1, 0.3))
    words = reports.heat_maps("baseline")
    assert words.title == title and f"Hits, its hottest point in the box: {pointing[0]:.0%} (" in words.text
