"""The seven notebooks: their form, and all of them in order on a small phantom, twice."""

import json
import re
import shutil
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from cxr_utils import config, evaluation, reports, run
from cxr_utils.__main__ import main

# All seven notebooks run twice before the first test that uses them.
pytestmark = pytest.mark.timeout(900)
NOTEBOOKS = sorted(run.REPOSITORY.glob("[0-9][0-9][0-9]-*.ipynb"))
NAMES = [
    "000-data_download", "100-data_cleaning_eda", "200-basemodel_cnn_scratch", "210-pretrained_models",
    "300-testing_baseline", "311-testing_pretrained_mobilenet", "400-visualization_predictions_results",
]  # fmt: skip
LOG_COLUMNS = (
    "epoch,auc,categorical_accuracy,loss,val_auc,val_categorical_accuracy,val_loss,val_mean_auroc,learning_rate"
)


def test_there_are_seven():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:3])
def test_the_form(path):
    book = nbformat.read(path, 4)
    cells = book.cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    # The opening: title and table, imports, parameters, versions.
    assert cells[0].source.startswith(f"# {path.stem[:3]} · ") and "| reads |" in cells[0].source
    assert all(
        re.match(r"import |from |$|with without_startup_messages|    (import|from) |    [a-z_]+,$|\)$", line)
        for line in cells[1].source.splitlines()
    )
    assert cells[2].metadata.tags == ["parameters"] and "injected-parameters" not in str(book)
    # One assignment for each parameter, its unit and reason in the comment above it.
    assert re.fullmatch(r"((# .+\n)+[A-Z_]+ = .+\n)+", cells[2].source + "\n")
    assignments = [line for line in cells[2].source.splitlines() if not line.startswith("#")]
    assert "config.versions" in cells[3].source and "seed" in cells[3].source
    rest = "\n".join(cell.source for cell in code[3:])
    for name in (line.split(" = ")[0] for line in assignments):
        assert not re.search(rf"^{name} = ", rest, flags=re.M) and name in rest + cells[3].source
    if path.stem[:3] in ("000", "100", "400"):
        assert "keras" not in cells[1].source and "models" not in cells[1].source and "training" not in cells[1].source
    else:
        assert "training.configure_devices()" in cells[3].source
    # Text before nearly every code cell, short cells, no import later on.
    assert sum(a.cell_type == "markdown" for a, b in pairwise(cells) if b.cell_type == "code") >= len(code) - 3
    assert all(len(cell.source.splitlines()) <= 40 for cell in code)
    assert not re.search(r"^ *(import|from) ", rest, flags=re.M)
    assert cells[-1].cell_type == "markdown" and cells[-1].source.startswith("## Done")
    # A sentence after each figure states what it shows.
    for cell in code:
        _, figure, after = cell.source.rpartition("plots.show_")
        assert "print(" in after or not figure, cell.source
    # The last sections state what was found, as computed, and the next step.
    found = [
        number
        for number, cell in enumerate(cells)
        if cell.source.startswith(("## What was found", "## What is there now"))
    ]
    assert len(found) == 1 and cells[found[0] + 1].cell_type == "code" and "print(" in cells[found[0] + 1].source
    # They name the source of the images, which 000 records.
    assert "Images: Phantom" in str(cells[found[0] + 1].outputs) or path.stem[:3] == "000"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:3])
def test_committed_notebooks_were_run_unchanged_and_show_everywhere(path):
    book = nbformat.read(path, 4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 5e6 and "widgets" not in book.metadata
    assert not re.search(r"/home/|/root/|/tmp/|" + re.escape(str(run.REPOSITORY)), path.read_text(encoding="utf-8"))
    for cell in code:
        text = "".join(output.get("text", "") for output in cell.outputs)
        assert len(text.splitlines()) <= 100
        for output in cell.outputs:
            assert output.output_type != "error"
            data = output.get("data", {})
            if "application/vnd.plotly.v1+json" in data:
                assert "<img " in data["text/html"].partition("<script")[0] and "Phantom" in json.dumps(data)


@pytest.fixture(scope="module")
def finished(small_phantom, without_imagenet_weights, tmp_path_factory):
    """Home of a run of all seven notebooks, twice in a row."""
    home = tmp_path_factory.mktemp("run")
    patch = pytest.MonkeyPatch()
    patch.setenv("CXR_RANDOM_START", "1")
    for name, value in without_imagenet_weights.items():
        patch.setenv(name, value)
    arguments = ["--release", str(small_phantom), "--home", str(home), "SPLIT=patient", "IMAGE_SIZE=48", "EPOCHS=1"]
    codes = [main(["run", *arguments]), main(["run", *arguments])]
    yield home, codes
    patch.undo()


def test_all_seven_run_in_order_twice(finished):
    home, codes = finished
    assert codes == [0, 0]
    assert sorted(path.stem for path in (home / "notebooks").glob("*.html")) == NAMES


def test_artifacts_have_the_names_that_users_rely_on(finished):
    home, _ = finished
    models = ("baseline", "mobilenet")
    names = [f"subset/{name}.pkl" for name in ("subset", "train_set", "valid_set", "test_set")]
    names += [f"figs/{name}.png" for name in ("label_counts", "train_val_test_splits", "baseline_layers")]
    names += [f"figs/{name}.png" for name in ("baseline_test", "mobilenet_test", "model_prediction_comparison")]
    names += ["presentation/slides.html", "presentation/slides.pptx"]
    names += ["test_results/comparison.csv", "test_results/published.csv"]
    names += [f"logs/{model}_model_summary.txt" for model in models]
    for kind in ("auroc", "operating", "calibration", "subgroups"):
        names += [f"test_results/{kind}_{model}.csv" for model in models]
    for name in names:
        assert (home / name).stat().st_size > 0, name
    for model, column in (("baseline", "pdx_base"), ("mobilenet", "pdx_mobilenet")):
        assert (home / "logs" / f"{model}_training.csv").read_text().splitlines()[0] == LOG_COLUMNS
        assert [
            path
            for path in (home / "weights").iterdir()
            if re.fullmatch(rf"{model}_weights\.best\.01-\d\.\d\d\.hdf5", path.name)
        ]
        assert (home / "cnnmodels" / f"{model}_model.h5").is_file()
        results = pd.read_csv(home / "test_results" / f"test_results_{model}.csv")
        assert list(results.columns) == ["label", "dx", column] and results.label.tolist() == config.LABELS
        for part in ("valid", "test"):
            table = pd.read_csv(home / "test_results" / f"predictions_{model}_{part}.csv")
            frame = pd.read_pickle(home / "subset" / f"{part}_set.pkl")
            assert list(table.columns) == ["imgindex", *config.LABELS]
            assert table.imgindex.tolist() == frame.imgindex.tolist()
            first = "imgindex label followup patientID age gender viewposition width height x y path".split()
            assert list(frame.columns) == [*first, *config.LABELS, "target", "seen"]
    assert not [path for path in home.rglob("*") if ".part." in path.name]
    assert {path.name for path in home.iterdir()} <= {
        "data", "subset", "weights", "cnnmodels", "logs", "test_results", "figs", "presentation", "notebooks",
    }  # fmt: skip


def test_results_state_phantom_and_random_initialization(finished):
    home, _ = finished
    said = "MobileNet, random initialization"
    assert (home / "logs" / "mobilenet_model_summary.txt").read_text(encoding="utf-8").startswith(said)
    assert set(pd.read_csv(home / "test_results" / "auroc_mobilenet.csv").model) == {said}
    for number in ("210", "311", "400"):
        (path,) = (home / "notebooks").glob(f"{number}-*.ipynb")
        book = nbformat.read(path, 4)
        charts = [o.data["application/vnd.plotly.v1+json"] for cell in book.cells if cell.cell_type == "code"
                  for o in cell.outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]  # fmt: skip
        assert charts and all("Phantom" in json.dumps(chart["layout"]["title"]) for chart in charts)
        assert any(said in json.dumps(chart) for chart in charts)


def test_the_model_card_contains_what_was_computed(finished):
    home, _ = finished
    card = (home / "test_results" / "model_card_mobilenet.md").read_text(encoding="utf-8")
    headings = re.findall("^## (.+)$", card, flags=re.M)
    assert headings[:4] == ["Intended use", "Data and split", "Training", "Results on test images"]
    assert {"Subgroups of the test images", "Limits"} <= set(headings)
    for text in (
        "Phantom: synthetic images",
        "MobileNet, random initialization",
        "never makes a diagnosis",
        "Split: random split by patient",
        "there is no patient overlap",
    ):
        assert text in card, text
    test = pd.read_pickle(home / "subset" / "test_set.pkl")
    # Split by patient: all test images are of patients not in the development set.
    assert f"{len(test)} of {len(test)} test images are of patients not in the development set" in card
    rows = dict(re.findall(r"^\| (\w+) +\| *\d+ \| *\d+ \| *(\d+) \|$", card, flags=re.M))
    assert {label: int(rows[label]) for label in config.LABELS} == test[config.LABELS].sum().to_dict()


def test_thresholds_are_in_the_model_and_come_from_validation_images(finished):
    home, _ = finished
    for model in ("baseline", "mobilenet"):
        settings = reports.load_inference_settings(home / "cnnmodels" / f"{model}_model.h5")
        valid = pd.read_pickle(home / "subset" / "valid_set.pkl")
        table = pd.read_csv(home / "test_results" / f"predictions_{model}_valid.csv")
        y_prob = table[config.LABELS].to_numpy(np.float32)
        assert settings.attrs["validation_images"] == len(valid) and "Phantom" in settings.attrs["images"]
        expected = evaluation.choose_thresholds(valid[config.LABELS].to_numpy(float), y_prob)
        assert settings.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5, nan_ok=True)
        # The results on test images are at these thresholds.
        operating = pd.read_csv(home / "test_results" / f"operating_{model}.csv")
        for row in operating.itertuples():
            assert row.threshold == pytest.approx(settings.loc[row.label, row[1]], abs=1e-6)


def test_results_of_patients_not_in_the_development_set_are_theirs(finished):
    home, _ = finished
    # With a split by patient, both columns are of the same images.
    for model in ("baseline", "mobilenet"):
        auroc = pd.read_csv(home / "test_results" / f"auroc_{model}.csv", index_col="label")
        assert auroc.auroc.notna().any()
        pd.testing.assert_series_equal(auroc.auroc, auroc.auroc_unseen, check_names=False)
    differences = pd.read_csv(home / "test_results" / "comparison.csv")
    all_images, new_patients = (
        part.set_index("label").iloc[:, 1:] for _, part in differences.groupby("images", sort=False)
    )
    pd.testing.assert_frame_equal(all_images, new_patients)


def test_400_shows_what_two_tables_allow_and_lists_what_is_missing(finished, tmp_path, monkeypatch):
    home, _ = finished
    alone = tmp_path / "alone"
    (alone / "test_results").mkdir(parents=True)
    for model in ("baseline", "mobilenet"):
        shutil.copy(home / "test_results" / f"test_results_{model}.csv", alone / "test_results")
    assert main(["run", "--release", "nih", "--home", str(alone), "--from", "400"]) == 0
    assert {path.stem for path in (alone / "figs").iterdir()} == {"model_prediction_comparison"}
    deck = BeautifulSoup((alone / "presentation" / "slides.html").read_text(encoding="utf-8"), "html.parser")
    assert len(deck.select("section img")) == 1
    text = (alone / "notebooks" / "400-visualization_predictions_results.ipynb").read_text()
    assert "Missing files: test_results/auroc_baseline.csv" in text


def test_a_notebook_without_its_input_names_the_one_to_run_first(tmp_path, capsys):
    assert main(["run", "--release", "nih", "--home", str(tmp_path / "empty"), "--from", "200"]) == 1
    assert "subset/train_set.pkl is missing: run 100-data_cleaning_eda" in capsys.readouterr().err
