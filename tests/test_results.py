"""The files of test_results/: predictions, AUROC and prevalence tables."""

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, evaluation, reports

MODELS = {"baseline": "pdx_base", "mobilenet": "pdx_mobilenet"}


@pytest.fixture
def frame():
    return pd.DataFrame({"imgindex": [f"{number:08d}_000.png" for number in range(400)]})


def test_predictions_are_read_in_the_order_of_the_frame(predictions, frame, home):
    _, y_prob, _ = predictions
    assert np.array_equal(reports.save_predictions(frame, np.array_split(y_prob, 3), "baseline_test"), y_prob)
    written = pd.read_csv(home / "test_results" / "predictions_baseline_test.csv")
    assert list(written.columns) == ["imgindex", *config.LABELS]
    order = frame.sample(frac=1, random_state=0)
    assert reports.load_predictions("baseline_test", order) == pytest.approx(y_prob[order.index])
    # Bit for bit: an image whose prediction was chosen as a threshold is still flagged at it.
    exact = np.random.default_rng(1).random((400, 14)).astype(np.float32)
    reports.save_predictions(frame, [exact], "baseline_valid")
    loaded = reports.load_predictions("baseline_valid", frame)
    assert loaded.dtype == np.float32 and np.array_equal(loaded, exact)
    with pytest.raises(ValueError, match="has 400 images, but not exactly the 399"):
        reports.load_predictions("baseline_test", frame[1:])


def test_predictions_are_written_batch_by_batch_and_only_a_complete_file_stays(predictions, frame, home):
    _, y_prob, _ = predictions
    folder = home / "test_results"

    def batches():
        for number, batch in enumerate(np.array_split(y_prob, 40)):
            yield batch
            if number == 20:
                (part,) = folder.iterdir()
                # Some of the earlier images are on disk, the rest are in the buffer of the file.
                assert 0 < sum(1 for _ in open(part)) <= 210 and ".part." in part.name
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reports.save_predictions(frame, batches(), "baseline_test")
    assert not list(folder.iterdir())


def test_auroc_tables_are_read_as_saved(predictions, home):
    y_true, y_prob, patients = predictions
    y_true = np.where(np.arange(14) == 2, 0, y_true)
    all_images, new_patients = (
        evaluation.auroc_table(y_true, y_prob, patients),
        evaluation.auroc_table(y_true[:200], y_prob[:200], patients[:200]),
    )
    reports.save_auroc(all_images, new_patients, "mobilenet", "MobileNet, ImageNet weights", "Images: some")
    written = pd.read_csv(home / "test_results" / "auroc_mobilenet.csv")
    assert written.label.tolist() == [*config.LABELS, "mean", "micro-average"] and set(written.images) == {
        "Images: some"
    }
    *tables, model = reports.load_auroc("mobilenet")
    assert model == "MobileNet, ImageNet weights"
    for found, saved in zip(tables, (all_images, new_patients), strict=True):
        pd.testing.assert_frame_equal(found, saved, check_dtype=False)
        for row in ("mean", "micro-average"):
            assert found.attrs[row] == pytest.approx(saved.attrs[row])
    # A table of an earlier version has other names.
    written.rename(columns={"images": "films"}).to_csv(home / "test_results" / "auroc_mobilenet.csv", index=False)
    with pytest.raises(ValueError, match=r"has no column \['images'\].*run 311-testing_pretrained_mobilenet"):
        reports.load_auroc("mobilenet")


def test_means_of_both_models_are_joined(predictions, home):
    y_true, y_prob, _ = predictions
    with pytest.raises(FileNotFoundError, match=r"test_results/test_results_baseline\.csv is missing: run 300"):
        reports.load_means(MODELS)
    for model, column in MODELS.items():
        reports.save_table(evaluation.prevalence_table(y_true, y_prob, column), f"test_results_{model}")
    means = reports.load_means(MODELS)
    assert list(means.columns) == ["dx", "baseline", "mobilenet"] and list(means.index) == config.LABELS
    assert {"test_results/auroc_baseline.csv", "subset/test_set.pkl"} <= set(reports.missing_files(MODELS))
    reports.save_table(evaluation.prevalence_table(y_true[1:], y_prob[1:], "pdx_mobilenet"), "test_results_mobilenet")
    with pytest.raises(ValueError, match=r"test_results_mobilenet\.csv has another observed prevalence"):
        reports.load_means(MODELS)
    reports.save_table(pd.DataFrame({"label": ["a"]}), "test_results_baseline")
    with pytest.raises(ValueError, match=r"test_results_baseline\.csv has no column \['dx', 'pdx_base'\]"):
        reports.load_means(MODELS)
