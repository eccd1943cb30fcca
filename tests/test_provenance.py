"""Results belong to a model and a split: what is stale or changed is rejected, what is not recorded is accepted."""

import hashlib
import json
import types

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, evaluation, reports
from cxr_utils.reports import provenance
from tests.conftest import save_split
from tests.helpers import seeded

MODELS = list(config.RISK_COLUMNS)


def model_file(home, name, content=b"weights"):
    """Writes a stand-in for a model file; returns what is used of the model."""
    path = home / "cnnmodels" / f"{name}_model.h5"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return types.SimpleNamespace(file_sha256=hashlib.sha256(content).hexdigest(), stamp={"run": content.decode()})


def save(home, name, value=1.0, content=b"weights"):
    """Writes a table as 300 or 311 does."""
    reports.start_results(name, model_file(home, name, content), data.load_split())
    reports.save_table(pd.DataFrame({"label": ["Mass"], "value": [value]}), f"subgroups_{name}")


def new_kernel(monkeypatch):
    """A new process knows nothing of what another one has started."""
    monkeypatch.setattr(provenance, "identities", {})


@pytest.fixture
def results(home):
    save_split(range(10), range(10, 20))
    for name in MODELS:
        save(home, name)
    return home / "test_results"


def test_the_provenance_states_model_split_and_files(results, home):
    stored = json.loads((results / "provenance_baseline.json").read_text())
    assert stored["model_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert stored["split"] == data.split_digest(*data.load_split().values())
    content = (results / "subgroups_baseline.csv").read_bytes()
    assert stored["files"] == {"subgroups_baseline.csv": hashlib.sha256(content).hexdigest()}
    # No column is added.
    assert list(pd.read_csv(results / "subgroups_baseline.csv")) == ["label", "value"]
    assert reports.start_comparison(MODELS) == []


def test_results_of_an_earlier_model_are_rejected(results, home, monkeypatch):
    model_file(home, "mobilenet", b"after a new 210")
    with pytest.raises(ValueError, match=r"mobilenet_model\.h5 .*311-testing_pretrained_mobilenet"):
        reports.start_comparison(MODELS)
    # 311 has begun, but has not written this table again.
    new_kernel(monkeypatch)
    reports.start_results("mobilenet", model_file(home, "mobilenet", b"after a new 210"), data.load_split())
    assert reports.start_comparison(MODELS) == []
    with pytest.raises(FileNotFoundError, match=r"subgroups_mobilenet\.csv .*311-testing_pretrained_mobilenet"):
        reports.load_table("subgroups_mobilenet")
    assert reports.load_table("subgroups_baseline").value.tolist() == [1.0]
    # Copied results, without the models.
    (home / "cnnmodels" / "baseline_model.h5").unlink()
    assert reports.start_comparison(MODELS) == []


@pytest.mark.parametrize("changed", [(range(11), range(11, 20)), (range(10), range(10, 20), "Nodule")])
def test_results_of_another_split_are_rejected(results, home, changed):
    save_split(*changed)
    with pytest.raises(ValueError, match=r"subset/.*300-testing_baseline and 311-testing"):
        reports.start_comparison(MODELS)
    save(home, "baseline")  # only one of them again
    with pytest.raises(ValueError, match=r"subset/"):
        reports.start_comparison(MODELS)
    save(home, "mobilenet")
    assert reports.start_comparison(MODELS) == []


def test_settings_of_another_model_are_rejected_without_the_model_file(results, home):
    settings = evaluation.choose_thresholds(*_labels_and_predictions())
    facts = {
        "network": "baseline",
        "weights": "",
        "pretrained": False,
        "members": 1,
        "image_size": 128,
        "parameters": 1,
    }
    (home / "cnnmodels" / "baseline_model.h5").unlink()
    for digest, accepted in ((hashlib.sha256(b"weights").hexdigest(), True), ("0" * 64, False)):
        reports.save_inference_settings("baseline", settings, facts | {"model_sha256": digest}, "Images: some", 10)
        if accepted:
            assert reports.start_comparison(MODELS) == []
        else:
            with pytest.raises(ValueError, match=r"baseline_model\.h5 .*300-testing_baseline"):
                reports.start_comparison(MODELS)


def _labels_and_predictions():
    rng = seeded(0)
    return rng.integers(0, 2, (60, 14)).astype("float32"), rng.random((60, 14))


def test_a_table_that_was_changed_is_rejected(results):
    for name, change in (("baseline", "Mass,2.0\n"), ("mobilenet", "")):
        path = results / f"subgroups_{name}.csv"
        path.write_text(path.read_text().replace("Mass,1.0\n", change))
        with pytest.raises(ValueError, match=rf"subgroups_{name}\.csv .*3"):
            reports.load_table(f"subgroups_{name}")


def test_the_same_model_and_split_keep_what_is_written(results, home, monkeypatch):
    new_kernel(monkeypatch)
    save_split(range(10), range(10, 20))
    reports.start_results("baseline", model_file(home, "baseline"), data.load_split())
    assert reports.load_table("subgroups_baseline").value.tolist() == [1.0]


def test_results_with_another_test_time_augmentation_are_not_mixed(results, home, monkeypatch):
    new_kernel(monkeypatch)
    path, matrices = model_file(home, "baseline"), data.fixed_affines(48)
    reports.start_results("baseline", path, data.load_split(), matrices)
    with pytest.raises(FileNotFoundError, match=r"subgroups_baseline\.csv .*300-testing"):
        reports.load_table("subgroups_baseline")
    settings = pd.DataFrame({"youden": 0.5, "sensitive": 0.2, "slope": 1.0, "intercept": 0.0}, config.LABELS)
    facts = {"network": "baseline", "weights": "", "pretrained": False, "members": 1, "image_size": 48, "parameters": 1}
    facts["model_sha256"] = path.file_sha256
    reports.save_inference_settings("baseline", settings, facts, "", 10, matrices)
    reports.start_comparison(["baseline"])
    # Killed after its first cells, with thresholds of the earlier augmentation left.
    reports.start_results("baseline", path, data.load_split())
    with pytest.raises(ValueError, match=r"TTA .*300-testing"):
        reports.start_comparison(["baseline"])


def test_a_notebook_left_behind_by_a_new_model_writes_nothing(results, home):
    before = (results / "subgroups_baseline.csv").read_bytes()
    ours = dict(provenance.identities)
    save(home, "baseline", 2.0, b"after a new 200")  # by another kernel
    written = (results / "subgroups_baseline.csv").read_bytes()
    provenance.identities.update(ours)
    with pytest.raises(ValueError, match=r"subgroups_baseline\.csv .*300-testing_baseline"):
        reports.save_table(pd.DataFrame({"label": ["Mass"], "value": [3.0]}), "subgroups_baseline")
    assert (results / "subgroups_baseline.csv").read_bytes() == written != before


def test_a_notebook_that_is_open_while_its_model_is_trained_again_writes_nothing(results, home):
    written = (results / "subgroups_baseline.csv").read_bytes()
    model_file(home, "baseline", b"after a new 200")
    with pytest.raises(ValueError, match=r"subgroups_baseline\.csv .*300-testing_baseline"):
        reports.save_table(pd.DataFrame({"label": ["Mass"], "value": [3.0]}), "subgroups_baseline")
    assert (results / "subgroups_baseline.csv").read_bytes() == written
    # The other model's notebook goes on.
    reports.save_table(pd.DataFrame({"label": ["Mass"], "value": [3.0]}), "subgroups_mobilenet")
    assert reports.load_table("subgroups_mobilenet").value.tolist() == [3.0]


def test_the_comparison_is_rejected_when_a_model_has_new_results(results, home):
    reports.start_comparison(MODELS)
    reports.save_table(pd.DataFrame({"label": ["Mass"], "value": [0.1]}), "comparison")
    assert reports.load_table("comparison").value.tolist() == [0.1]
    save(home, "mobilenet", 2.0)
    with pytest.raises(ValueError, match=r"comparison\.csv .*400-visualization_predictions_results"):
        reports.load_table("comparison")


def test_results_without_provenance_are_named_and_accepted(home):
    for name in MODELS:
        reports.save_table(pd.DataFrame({"label": ["Mass"], "value": [1.0]}), f"test_results_{name}")
    assert reports.start_comparison(MODELS) == MODELS
    assert reports.load_table("test_results_mobilenet").value.tolist() == [1.0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 3}', "{}"])
def test_a_damaged_provenance_is_named(results, content):
    (results / "provenance_baseline.json").write_text(content)
    for read in (lambda: reports.start_comparison(MODELS), lambda: reports.load_table("subgroups_baseline")):
        with pytest.raises(ValueError, match=r"provenance_baseline\.json .*300-testing_baseline"):
            read()


def test_predictions_of_an_earlier_model_choose_no_thresholds(home):
    save_split(range(10), range(10, 20))
    sets = data.load_split()
    reports.start_results("baseline", model_file(home, "baseline"), sets)
    reports.save_predictions(sets["validation"], [np.full((10, 14), 0.5, np.float32)], "baseline_valid")
    reports.load_predictions("baseline_valid", sets["validation"])
    # The cell that loads the model is run again after a new training, the one that predicts is not.
    reports.start_results("baseline", model_file(home, "baseline", b"after a new 200"), sets)
    with pytest.raises(FileNotFoundError, match=r"predictions_baseline_valid\.csv .*300-testing_baseline"):
        reports.load_predictions("baseline_valid", sets["validation"])


def test_a_log_is_read_only_with_the_model_of_its_run(home):
    def log(run, text, recorded=None):
        (home / "logs").mkdir(exist_ok=True)
        (home / "logs" / "baseline_training.csv").write_text(text)
        stamp = {"run": run, "log_sha256": hashlib.sha256((recorded or text).encode()).hexdigest()}
        (home / "logs" / "baseline_training.json").write_text(json.dumps(stamp))

    text = "epoch,val_mean_auroc\n1,0.5\n"
    log("first", text)
    assert reports.load_training_log("baseline", "first").val_mean_auroc.tolist() == [0.5]
    wrong = [("second", text, None), ("first", text + "2,0.9\n", text)]
    for case in wrong:
        log(*case)
        with pytest.raises(ValueError, match=r"baseline_training\.csv .*baseline_model\.h5 .*200-basemodel"):
            reports.load_training_log("baseline", "first")
    (home / "logs" / "baseline_training.csv").rename(home / "moved.csv")
    with pytest.raises(FileNotFoundError, match=r"baseline_training\.csv"):
        reports.load_training_log("baseline", "first")
    (home / "moved.csv").rename(home / "logs" / "baseline_training.csv")
    # A log and a model of an earlier version state no run.
    with pytest.raises(ValueError, match=r"baseline_training\.csv"):
        reports.load_training_log("baseline", None)
    (home / "logs" / "baseline_training.json").unlink()
    assert len(reports.load_training_log("baseline", None)) == 2
    with pytest.raises(ValueError, match=r"baseline_training\.csv"):
        reports.load_training_log("baseline", "first")
