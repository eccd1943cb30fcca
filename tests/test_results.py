"""The files of test_results/: predictions, AUROC, prevalence, published results, and tables with keys."""

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, evaluation, reports
from cxr_utils.reports import published

MODELS = list(config.RISK_COLUMNS)


@pytest.fixture
def frame():
    return pd.DataFrame({"imgindex": [f"{number:08d}_000.png" for number in range(400)]})


def test_predictions_are_read_in_the_order_of_the_frame(predictions, frame, home):
    _, y_prob, _ = predictions
    assert np.array_equal(reports.save_predictions(frame, np.array_split(y_prob, 3), "baseline_test"), y_prob)
    written = pd.read_csv(home / "test_results" / "predictions_baseline_test.csv")
    assert list(written.columns) == ["imgindex", *config.LABELS]
    assert list(written.imgindex) == list(frame.imgindex)
    order = frame.sample(frac=1, random_state=0)
    assert reports.load_predictions("baseline_test", order) == pytest.approx(y_prob[order.index])
    # Bit for bit: an image whose prediction was chosen as a threshold is still flagged at it.
    exact = np.random.default_rng(1).random((400, 14)).astype(np.float32)
    reports.save_predictions(frame, [exact], "baseline_valid")
    loaded = reports.load_predictions("baseline_valid", frame)
    assert loaded.dtype == np.float32 and np.array_equal(loaded, exact)
    with pytest.raises(ValueError, match=r"predictions_baseline_test\.csv has 400 images.* 399 images.*300-.*311-"):
        reports.load_predictions("baseline_test", frame[1:])


def test_only_a_complete_file_of_predictions_is_written(predictions, frame, home):
    _, y_prob, _ = predictions
    reports.save_predictions(frame, [y_prob], "baseline_test")
    before = (home / "test_results" / "predictions_baseline_test.csv").read_bytes()

    def interrupted():
        yield y_prob[:200] / 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reports.save_predictions(frame, interrupted(), "baseline_test")
    (path,) = (home / "test_results").iterdir()
    assert path.read_bytes() == before
    # A batch is missing.
    with pytest.raises(ValueError, match="200"):
        reports.save_predictions(frame, [y_prob[:200]], "baseline_test")
    assert path.read_bytes() == before


@pytest.mark.parametrize("leaking", [True, False])
def test_auroc_tables_are_read_as_saved(predictions, home, leaking):
    y_true, y_prob, patients = predictions
    y_true = np.where(np.arange(14) == 2, 0, y_true)
    saved = {"all": evaluation.auroc_table(y_true, y_prob, patients)}
    if leaking:
        saved["new_patients"] = evaluation.auroc_table(y_true[:200], y_prob[:200], patients[:200])
    reports.save_auroc(saved, "mobilenet", "MobileNet, ImageNet weights", "Images: some")
    path = home / "test_results" / "auroc_mobilenet.csv"
    written = pd.read_csv(path)
    assert written.label.tolist() == [*config.LABELS, "mean", "micro-average"]
    assert set(written.images) == {"Images: some"}
    *tables, model = reports.load_auroc("mobilenet")
    assert model == "MobileNet, ImageNet weights"
    # With a split by patient, all test images are of patients not in the development set.
    for found, subset in zip(tables, ("all", "new_patients" if leaking else "all"), strict=True):
        pd.testing.assert_frame_equal(found, saved[subset], check_dtype=False)
        for row in ("mean", "micro-average"):
            assert found.attrs[row] == pytest.approx(saved[subset].attrs[row])
    # A table of an earlier version has other names.
    written.rename(columns={"images": "films"}).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"auroc_mobilenet\.csv .*\['images'\].*311-testing_pretrained_mobilenet"):
        reports.load_auroc("mobilenet")


def test_means_of_both_models_are_joined(predictions, home):
    y_true, y_prob, _ = predictions
    with pytest.raises(FileNotFoundError, match=r"test_results/test_results_baseline\.csv .*300-testing_baseline"):
        reports.load_means(MODELS)
    for model, column in config.RISK_COLUMNS.items():
        table = evaluation.prevalence_table(y_true, y_prob * (1 + (model == "mobilenet")) / 2, column)
        reports.save_table(table, f"test_results_{model}")
    means = reports.load_means(MODELS)
    assert list(means.columns) == ["dx", *MODELS] and list(means.index) == config.LABELS
    assert means.dx.to_numpy() == pytest.approx(100 * y_true.mean(axis=0))
    assert means.baseline.to_numpy() == pytest.approx(50 * y_prob.mean(axis=0))
    assert means.mobilenet.to_numpy() == pytest.approx(100 * y_prob.mean(axis=0))
    other = evaluation.prevalence_table(y_true[1:], y_prob[1:], "pdx_mobilenet")
    for wrong in (other, table[1:]):
        reports.save_table(wrong, "test_results_mobilenet")
        with pytest.raises(ValueError, match=r"test_results_mobilenet\.csv"):
            reports.load_means(MODELS)
    reports.save_table(pd.DataFrame({"label": ["a"]}), "test_results_baseline")
    with pytest.raises(ValueError, match=r"test_results_baseline\.csv .*\['dx', 'pdx_base'\]"):
        reports.load_means(MODELS)


def test_rows_of_a_table_are_read_by_their_keys(home):
    table = pd.DataFrame(
        {
            "rule": ["youden", "sensitive", "youden"],
            "subset": ["all", "all", "new_patients"],
            "label": ["Mass", "Mass", "Mass"],
            "threshold": [0.3, 0.1, 0.3],
            "sensitivity": [0.8, 0.9, np.nan],
        }
    )
    reports.save_table(table, "operating_baseline")
    found = reports.load_table("operating_baseline", rule="sensitive", subset="all")
    assert found.to_dict("index") == {"Mass": {"threshold": 0.1, "sensitivity": 0.9}}
    assert reports.load_table("operating_baseline", rule="sensitive", subset="new_patients").empty
    found = reports.load_table("operating_baseline", index=["rule", "subset"])
    assert found.index.tolist() == [("youden", "all"), ("sensitive", "all"), ("youden", "new_patients")]
    assert list(found) == ["label", "threshold", "sensitivity"]


@pytest.mark.parametrize(
    ("name", "notebook"),
    [
        ("operating_baseline", "300-testing_baseline"),
        ("calibration_mobilenet", "311-testing_pretrained_mobilenet"),
        ("comparison", "400-visualization_predictions_results"),
    ],
)
def test_an_unusable_table_is_named_with_its_notebook(home, name, notebook):
    with pytest.raises(FileNotFoundError, match=rf"test_results/{name}\.csv .*{notebook}"):
        reports.load_table(name, subset="all")
    # A table of an earlier version.
    reports.save_table(pd.DataFrame({"images": ["all test images (400)"], "label": ["Mass"]}), name)
    with pytest.raises(ValueError, match=rf"test_results/{name}\.csv .*subset.*{notebook}"):
        reports.load_table(name, subset="all")


def test_every_file_that_400_needs_is_listed_until_it_exists(home):
    missing = reports.missing_files()
    assert len(missing) == len(set(missing)) == 9
    assert {"cnnmodels/mobilenet_inference.json", "test_results/auroc_baseline.csv"} < set(missing)
    for number, name in enumerate(missing):
        assert reports.missing_files() == missing[number:]
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).touch()
    assert reports.missing_files() == []


def table_with_mean(*mean):
    table = pd.DataFrame()
    table.attrs["mean"] = dict(zip(("auroc", "lower", "upper", "findings"), mean, strict=True))
    return table


@pytest.mark.parametrize(("split", "images"), [("stratified", 109_577), ("official", 1300), ("patient", 1300)])
def test_results_of_this_run_stand_with_those_on_the_same_split(home, split, images):
    found = {"baseline": (0.7, 0.65, 0.75, 14), "MobileNet": (np.nan, np.nan, np.nan, 0)}
    ours = {model: table_with_mean(*values) for model, values in found.items()}
    reports.save_table(reports.published_table(ours, split, images), "published")
    table = reports.load_table("published", index=["model"]).reset_index()
    assert len(table) == len(published.PUBLISHED) + 2
    rows = table[table.this_run]
    for model, values in found.items():
        row = rows.set_index("model").loc[model, ["mean_auroc", "lower", "upper", "findings"]]
        assert row.to_numpy(float) == pytest.approx(values, nan_ok=True)
    assert set(rows.split) == {split}
    # Fewer images than NIH's whole set are stated.
    assert (rows.images == images).all() if images < 100_000 else rows.images.isna().all()
    assert table[~table.this_run].images.isna().all()
    assert [tuple(row) for row in table[~table.this_run][["model", "split", "mean_auroc"]].to_numpy()] == sorted(
        published.PUBLISHED, key=lambda row: list(reports.SPLITS).index(row[1])
    )
    # Rows of one split are next to each other.
    assert (table.split != table.split.shift()).sum() == 3


def test_published_results_have_words_for_readers(home):
    table = reports.published_table({"MobileNet": table_with_mean(0.8, 0.7, 0.9, 12)}, "stratified", 1300)
    shown = reports.describe_published(table)
    assert shown.notna().all(axis=None) and len(shown) == len(table)
    assert (shown.iloc[0].tolist(), shown.index[0]) == (
        [reports.SPLITS["official"], "0.745"],
        published.PUBLISHED[0][0],
    )
    ours = shown.iloc[-1]
    assert "1,300" in ours.split and "phantom" not in ours.split
    assert ours["mean AUROC"].startswith("0.800 (0.700–0.900)") and "12" in ours["mean AUROC"]
    assert shown.index[-1].startswith("MobileNet") and not shown.index.duplicated().any()
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Phantom: drawn\nkind: phantom\n", encoding="utf-8")
    shown = reports.describe_published(table)
    assert shown.split.str.contains("phantom").tolist() == table.this_run.tolist()
