"""The seven notebooks: their form, the text that pairs share, and all of them in order on a small phantom."""

import ast
import base64
import functools
import hashlib
import io
import json
import re
import shutil
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from cxr_utils import config, evaluation, phantom, reports, run
from cxr_utils.__main__ import main
from tests.conftest import REPOSITORY

# All seven notebooks run before the first test that uses them.
pytestmark = pytest.mark.timeout(900)
NOTEBOOKS = sorted(REPOSITORY.glob("[0-9][0-9][0-9]-*.ipynb"))
NAMES = [
    "000-data_download", "100-data_cleaning_eda", "200-basemodel_cnn_scratch", "210-pretrained_models",
    "300-testing_baseline", "311-testing_pretrained_mobilenet", "400-visualization_predictions_results",
]  # fmt: skip
PAIRS = [("200", "210"), ("300", "311")]
# The cell that sets these two is the only one that names the model of a notebook.
OWN_MODEL = {
    "200": ("baseline", "BASELINE_COLOR"), "300": ("baseline", "BASELINE_COLOR"),
    "210": ("mobilenet", "PRETRAINED_COLOR"), "311": ("mobilenet", "PRETRAINED_COLOR"),
}  # fmt: skip
LOG_COLUMNS = (
    "epoch,auc,categorical_accuracy,loss,val_auc,val_categorical_accuracy,val_loss,val_mean_auroc,learning_rate"
)
FRAME_COLUMNS = "imgindex label followup patientID age gender viewposition width height x y path".split()
MISSING = re.compile(r"\b(n/a|NaN|nan|None)\b")
MOST_MISSING = 20  # in the outputs of one committed notebook
PLOTLY_JSON = "application/vnd.plotly.v1+json"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:3])


@functools.cache
def cells_of(number):
    """Returns the cells of the committed notebook with this number, such as `"200"`."""
    return nbformat.read(next(path for path in NOTEBOOKS if path.stem[:3] == number), 4).cells


def code_of(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def outputs_of(cells):
    return [output for cell in code_of(cells) for output in cell.outputs]


def tags_of(cell):
    return set(cell.metadata.get("tags", ()))


def charts_of(cells):
    return [output.data[PLOTLY_JSON] for output in outputs_of(cells) if PLOTLY_JSON in output.get("data", {})]


def sets_model(cell):
    return cell.cell_type == "code" and "MODEL, COLOR = " in cell.source


def test_there_are_seven():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@each_notebook
def test_the_form(path):
    cells = cells_of(path.stem[:3])
    code = code_of(cells)
    # The opening: title and table, imports, parameters, versions.
    assert cells[0].source.startswith(f"# {path.stem[:3]} · ") and "| reads |" in cells[0].source
    assert all(
        re.match(r"import |from |$|with without_startup_messages|    (import|from) |    [a-z_]+,$|\)$", line)
        for line in cells[1].source.splitlines()
    )
    assert cells[2].metadata.tags == ["parameters"] and "injected-parameters" not in str(cells)
    # One assignment for each parameter, its unit and reason in the comment above it.
    assert re.fullmatch(r"((# .+\n)+[A-Z_]+ = .+\n)+", cells[2].source + "\n")
    assignments = [line for line in cells[2].source.splitlines() if not line.startswith("#")]
    assert "config.versions" in cells[3].source and "seed" in cells[3].source
    assert "parameters.check(globals())" in cells[3].source
    rest = "\n".join(cell.source for cell in code[3:])
    for name in (line.split(" = ")[0] for line in assignments):
        assert not re.search(rf"^{name} = ", rest, flags=re.M) and name in rest + cells[3].source
    if path.stem[:3] in ("000", "100", "400"):
        assert "keras" not in cells[1].source and "models" not in cells[1].source and "training" not in cells[1].source
    else:
        to_train = "to_train=True" if path.stem[:3] in ("200", "210") else ""
        assert f"training.configure_devices({to_train})" in cells[3].source
    # Text before nearly every code cell, short cells, no import later on.
    assert sum(a.cell_type == "markdown" for a, b in pairwise(cells) if b.cell_type == "code") >= len(code) - 3
    assert all(len(cell.source.splitlines()) <= 40 for cell in code)
    assert not re.search(r"^ *(import|from) ", rest, flags=re.M)
    assert cells[-1].cell_type == "markdown" and cells[-1].source.startswith("## Done")
    # A sentence after each figure states what it shows.
    for cell in code:
        *before, after = re.split(r"plots\.show_(?:chart|images)\(", cell.source)
        assert "print(" in after or not before, cell.source
    # The last sections state what was found, as computed, and the next step.
    found = [
        number
        for number, cell in enumerate(cells)
        if cell.source.startswith(("## What was found", "## What is there now"))
    ]
    assert len(found) == 1 and cells[found[0] + 1].cell_type == "code" and "print(" in cells[found[0] + 1].source


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair_has_the_same_text_except_for_title_parameters_and_tagged_cells(pair):
    cells = [cell for number in pair for cell in cells_of(number)]
    assert sum("unpaired" in tags_of(cell) for cell in cells) <= 8
    texts = []
    for number in pair:
        shared = [cell for cell in cells_of(number)[1:] if not tags_of(cell) & {"unpaired", "parameters"}]
        sources = [re.sub(r"^MODEL, COLOR = .+$", "", cell.source, flags=re.M) for cell in shared]
        texts.append([(cell.cell_type, tags_of(cell), source) for cell, source in zip(shared, sources, strict=True)])
    assert len(texts[0]) > 20
    for first, second in zip(*texts, strict=True):
        assert first == second


@pytest.mark.parametrize("number", OWN_MODEL)
def test_the_model_and_its_color_are_named_once(number):
    (cell,) = [cell for cell in cells_of(number) if sets_model(cell)]
    model, color = OWN_MODEL[number]
    assert f'MODEL, COLOR = "{model}", plots.{color}' in cell.source.splitlines()
    for other in code_of(cells_of(number)):
        tree = ast.parse(other.source)
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        assert other is cell or not stored & {"MODEL", "COLOR"}
        if other is not cell and not tags_of(other) & {"unpaired", "parameters"}:
            texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
            assert not [text for text in texts if re.search("baseline|mobilenet", str(text), re.I)], other.source
            assert not re.search(r"plots\.(BASELINE|PRETRAINED)_COLOR", other.source)


def test_hosts_train_together_up_to_one_marked_cell_of_200_and_210():
    numbers = [path.stem[:3] for path in NOTEBOOKS]
    marked = [(number, cell) for number in numbers for cell in cells_of(number) if "last-shared" in tags_of(cell)]
    assert [number for number, _ in marked] == ["200", "210"]
    for _, cell in marked:
        assert "model.fit(" in cell.source and cell.source.splitlines()[-1] == "training.leave_hosts()"


@pytest.mark.parametrize("number", ["300", "311", "400"])
def test_results_start_with_the_key_metric(number):
    sources = [cell.source for cell in code_of(cells_of(number))]
    first_mean = next(i for i, source in enumerate(sources) if "evaluation.describe_mean(" in source)
    first_figure = next(i for i, source in enumerate(sources) if "plots.show_" in source)
    assert first_mean < first_figure and first_mean <= len(sources) / 3


@each_notebook
def test_committed_notebooks_were_run_unchanged(path):
    code = code_of(cells_of(path.stem[:3]))
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 5e6
    assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    for cell in code:
        assert "error" not in [output.output_type for output in cell.outputs]
        assert len("".join(output.get("text", "") for output in cell.outputs).splitlines()) <= 100
    # They name the source of the images at their end, which 000 records.
    printed = "".join(output.get("text", "") for cell in code[-8:] for output in cell.outputs)
    assert "Images: Phantom" in printed or path.stem[:3] == "000"


@each_notebook
def test_each_chart_of_a_committed_notebook_has_a_form_for_every_reader(path):
    """Scripts, HTML without scripts, pictures only (PDF, Word), and text only."""
    for output in outputs_of(cells_of(path.stem[:3])):
        forms = output.get("data", {})
        if PLOTLY_JSON not in forms:
            continue
        assert set(forms) == {PLOTLY_JSON, "text/html", "image/png", "text/plain"}
        assert "Phantom" in json.dumps(forms[PLOTLY_JSON]["layout"]["title"]) and forms["text/plain"]
        assert "<img " in forms["text/html"].partition("<script")[0]
        picture = Image.open(io.BytesIO(base64.b64decode(forms["image/png"])))
        assert picture.width > 600 and picture.height > 200


@each_notebook
def test_committed_notebooks_show_few_missing_values(path):
    shown = ""
    for output in outputs_of(cells_of(path.stem[:3])):
        shown += output.get("text", "") + output.get("data", {}).get("text/plain", "") + "\n"
        soup = BeautifulSoup(output.get("data", {}).get("text/html", ""), "html.parser")
        for table in soup.find_all("table"):
            rows = [[cell.get_text(" ", strip=True) for cell in row("td")] for row in table("tr")]
            rows = [row for row in rows if row]
            assert rows, table
            for values in [*rows, *zip(*rows, strict=True)]:
                assert not all(MISSING.fullmatch(value) or not value for value in values), table
    assert len(MISSING.findall(shown)) <= MOST_MISSING


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A phantom that is large enough for some findings to have 10 patients in the test set of a split by patient."""
    return phantom.draw_release(tmp_path_factory.mktemp("phantom") / "release", patients=330)


@pytest.fixture(scope="module")
def finished(release, without_imagenet_weights, tmp_path_factory):
    """Home of a run of all seven notebooks on this phantom."""
    home = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_RANDOM_START", "1")
        for name, value in without_imagenet_weights.items():
            patch.setenv(name, value)
        parameters = ["SPLIT=patient", "IMAGE_SIZE=48", "EPOCHS=1", "210.MEMBERS=2"]
        assert main(["run", "--release", str(release), "--home", str(home), *parameters]) == 0
    return home


@pytest.mark.slow
def test_all_seven_run_in_order(finished):
    pages = sorted((finished / "notebooks").glob("*.html"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.stem for path in pages] == NAMES


@pytest.mark.slow
def test_artifacts_have_the_names_that_users_rely_on(finished):
    names = [f"subset/{name}.pkl" for name in ("subset", "train_set", "valid_set", "test_set")]
    names += [f"figs/{name}.png" for name in ("label_counts", "train_val_test_splits", "baseline_layers")]
    names += [f"figs/{name}.png" for name in ("baseline_test", "mobilenet_test", "model_prediction_comparison")]
    names += ["presentation/slides.html", "presentation/slides.pptx"]
    names += ["test_results/comparison.csv", "test_results/agreement.csv", "test_results/published.csv"]
    for model in config.RISK_COLUMNS:
        names += [f"logs/{model}_model_summary.txt", f"test_results/model_card_{model}.md"]
        names += [f"cnnmodels/{model}_model.h5", f"cnnmodels/{model}_inference.json"]
        names += [
            f"test_results/{kind}_{model}.csv"
            for kind in ("auroc", "operating", "per_image", "calibration", "subgroups")
        ]
    for name in names:
        assert (finished / name).stat().st_size > 0, name
    for model, column in config.RISK_COLUMNS.items():
        assert (finished / "logs" / f"{model}_training.csv").read_text().splitlines()[0] == LOG_COLUMNS
        weights = [path.name for path in (finished / "weights").glob(f"{model}_weights.*")]
        assert len(weights) == 1 and re.fullmatch(rf"{model}_weights\.best\.01-\d\.\d\d\.hdf5", weights[0])
        results = pd.read_csv(finished / "test_results" / f"test_results_{model}.csv")
        assert list(results.columns) == ["label", "dx", column] and results.label.tolist() == config.LABELS
        for part in ("valid", "test"):
            table = pd.read_csv(finished / "test_results" / f"predictions_{model}_{part}.csv")
            frame = pd.read_pickle(finished / "subset" / f"{part}_set.pkl")
            assert list(table.columns) == ["imgindex", *config.LABELS]
            assert table.imgindex.tolist() == frame.imgindex.tolist()
            assert list(frame.columns) == [*FRAME_COLUMNS, *config.LABELS, "target", "seen"]
    assert not [path for path in finished.rglob("*") if ".part." in path.name]
    assert {path.name for path in finished.iterdir()} <= {
        "data", "subset", "weights", "cnnmodels", "logs", "test_results", "figs", "presentation", "notebooks",
        ".locks",
    }  # fmt: skip


@pytest.mark.slow
def test_keys_of_result_tables_are_data(finished):
    for model in config.RISK_COLUMNS:
        operating = pd.read_csv(finished / "test_results" / f"operating_{model}.csv")
        assert list(operating.columns[:3]) == ["rule", "subset", "label"]
        assert set(operating.rule) <= set(config.THRESHOLD_RULES) and set(operating.subset) <= set(config.SUBSETS)
        # A row for each finding with a threshold. A model no better than chance has none by Youden's index.
        assert len(operating)
        for _, labels in operating.groupby(["rule", "subset"]).label:
            assert labels.tolist() == [label for label in config.LABELS if label in set(labels)]
        calibration = pd.read_csv(finished / "test_results" / f"calibration_{model}.csv")
        assert list(calibration.columns[:3]) == ["subset", "probabilities", "label"]
        assert set(calibration.subset) <= set(config.SUBSETS)
        assert set(calibration.probabilities) == {"uncalibrated", "calibrated"}
        labels = calibration.groupby(["subset", "probabilities"]).label.agg(list)
        assert labels.map([*config.LABELS, "mean"].__eq__).all()
    comparison = pd.read_csv(finished / "test_results" / "comparison.csv")
    assert list(comparison.columns[:2]) == ["subset", "label"] and set(comparison.subset) <= set(config.SUBSETS)
    published = pd.read_csv(finished / "test_results" / "published.csv")
    assert set(published.columns) == {
        "model", "split", "images", "mean_auroc", "lower", "upper", "findings", "this_run",
    }  # fmt: skip
    assert published.mean_auroc[~published.this_run].between(0.7, 0.85).all()
    assert published.this_run.sum() == 2 and set(published.split) <= {"official", "patient", "stratified"}


@pytest.mark.slow
def test_results_state_phantom_and_random_initialization(finished):
    described = "MobileNet, random initialization"
    heading = (finished / "logs" / "mobilenet_model_summary.txt").read_text(encoding="utf-8").splitlines()[0]
    assert described in heading and "Phantom" in heading
    results = pd.read_csv(finished / "test_results" / "auroc_mobilenet.csv")
    assert set(results.model) == {f"{described}, 2 members, 5 × TTA"}  # five is the default of 311
    facts = json.loads((finished / "cnnmodels" / "mobilenet_inference.json").read_text(encoding="utf-8"))
    assert (facts["network"], facts["weights"], facts["image_size"]) == ("MobileNet", "random initialization", 48)
    for number in ("210", "311", "400"):
        (path,) = (finished / "notebooks").glob(f"{number}-*.ipynb")
        charts = charts_of(nbformat.read(path, 4).cells)
        assert charts and all("Phantom" in json.dumps(chart["layout"]["title"]) for chart in charts)
        assert any(described in json.dumps(chart) for chart in charts)


@pytest.mark.slow
def test_the_model_card_contains_what_was_computed(finished):
    card = (finished / "test_results" / "model_card_mobilenet.md").read_text(encoding="utf-8")
    assert "Phantom" in card and "MobileNet, random initialization" in card
    frames = [pd.read_pickle(finished / "subset" / f"{part}_set.pkl") for part in ("train", "valid", "test")]
    rows = dict(re.findall(r"^\| (\w+) +\| +(\d+ +\| +\d+ +\| +\d+) +\|$", card, flags=re.M))
    counts = {name: [int(count) for count in row.split("|")] for name, row in rows.items()}
    assert counts == {
        "images": [len(frame) for frame in frames],
        "patients": [frame.patientID.nunique() for frame in frames],
        **{label: [frame[label].sum() for frame in frames] for label in config.LABELS},
    }
    # Split by patient: all test images are of patients not in the development set.
    assert f"{len(frames[2])} of {len(frames[2])} test images" in card
    log = pd.read_csv(finished / "logs" / "mobilenet_training.csv")
    assert f"({log.val_mean_auroc.max():.3f})" in card
    subgroups = pd.read_csv(finished / "test_results" / "subgroups_mobilenet.csv")
    for row in subgroups.dropna(subset="difference").itertuples():
        start = [row.kind, re.escape(row.group), row.measure, row.images, row.patients]
        assert re.search(r"^\| " + r" +\| +".join(map(str, start)) + r" \|", card, re.M), start
    # Two networks were trained, with two seeds; their logs give the spread.
    logs = [pd.read_csv(finished / "logs" / f"mobilenet{member}_training.csv") for member in ("", "_m2")]
    spread = np.std([log.val_mean_auroc.max() for log in logs], ddof=1)
    for page in (card, (finished / "presentation" / "slides.html").read_text(encoding="utf-8")):
        assert f"{spread:.3f} (2 seeds)" in page
    assert "no clinical use" in card


@pytest.mark.slow
def test_thresholds_and_calibration_come_from_validation_images(finished):
    valid = pd.read_pickle(finished / "subset" / "valid_set.pkl")
    for model in config.RISK_COLUMNS:
        model_file = finished / "cnnmodels" / f"{model}_model.h5"
        settings = reports.load_inference_settings(model_file)
        assert settings.attrs["validation_images"] == len(valid) and "Phantom" in settings.attrs["images"]
        assert settings.attrs["model_sha256"] == hashlib.sha256(model_file.read_bytes()).hexdigest()
        table = pd.read_csv(finished / "test_results" / f"predictions_{model}_valid.csv")
        expected = evaluation.choose_thresholds(
            valid[config.LABELS].to_numpy(float), table[config.LABELS].to_numpy(np.float32), valid.patientID
        )
        rules = list(config.THRESHOLD_RULES)
        assert settings[rules].to_numpy() == pytest.approx(expected[rules].to_numpy(), abs=1e-5, nan_ok=True)
        # After one epoch predictions hardly vary: rounded in the table, they change a slope of 1,000 by a few units.
        platt = ["slope", "intercept"]
        assert settings[platt].to_numpy() == pytest.approx(expected[platt].to_numpy(), rel=0.02, nan_ok=True)
        # The results on test images are at these thresholds.
        operating = pd.read_csv(finished / "test_results" / f"operating_{model}.csv")
        for row in operating.itertuples():
            assert row.threshold == pytest.approx(settings.loc[row.label, row.rule], abs=1e-6, nan_ok=True)


@pytest.mark.slow
def test_with_a_split_by_patient_each_result_is_given_once(finished):
    for model in config.RISK_COLUMNS:
        auroc = pd.read_csv(finished / "test_results" / f"auroc_{model}.csv", index_col="label")
        assert auroc.positives.sum() > 0
        pd.testing.assert_series_equal(auroc.auroc, auroc.auroc_unseen, check_names=False)
        assert set(pd.read_csv(finished / "test_results" / f"operating_{model}.csv").subset) == {"all"}
        assert set(pd.read_csv(finished / "test_results" / f"calibration_{model}.csv").subset) == {"all"}
    assert set(pd.read_csv(finished / "test_results" / "comparison.csv").subset) == {"all"}


def files(home):
    """Returns the content of each file that a notebook works with, by its path."""
    folders = ["data", "subset", "weights", "cnnmodels", "logs", "test_results"]
    return {
        path: path.read_bytes()
        for name in folders
        for path in (home / name).rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.mark.slow
@pytest.mark.parametrize(("number", "wrong"), [("200", {"EPOCHS": 0}), ("300", {"REREADS": "none"})])
def test_a_wrong_parameter_stops_a_notebook_before_it_writes(finished, monkeypatch, capsys, number, wrong):
    monkeypatch.setenv("CXR_HOME", str(finished))
    before = files(finished)
    (path,) = [path for path in NOTEBOOKS if path.stem[:3] == number]
    assert not run.run_notebook(path, finished / "notebooks", wrong)
    assert next(iter(wrong)) in capsys.readouterr().err
    assert files(finished) == before


@pytest.mark.slow
def test_running_a_notebook_again_changes_none_of_its_files(finished, release, monkeypatch):
    """Also not the model file, which 300 only reads. Retraining is tested in test_resume.py."""
    monkeypatch.setenv("CXR_HOME", str(finished))
    monkeypatch.setenv("CXR_RELEASE", str(release))
    before = files(finished)
    for path in NOTEBOOKS:
        if path.stem[:3] in ("000", "100", "300"):
            parameters = {"SPLIT": "patient"} if path.stem[:3] == "100" else {}
            assert run.run_notebook(path, finished / "notebooks", parameters)
    after = files(finished)
    assert set(after) == set(before)
    assert [str(path) for path in before if before[path] != after[path]] == []


@pytest.mark.slow
def test_400_shows_what_two_tables_allow_and_lists_what_is_missing(finished, tmp_path):
    alone = tmp_path / "alone"
    (alone / "test_results").mkdir(parents=True)
    for model in config.RISK_COLUMNS:
        shutil.copy(finished / "test_results" / f"test_results_{model}.csv", alone / "test_results")
    assert main(["run", "--release", "nih", "--home", str(alone), "--from", "400"]) == 0
    assert {path.stem for path in (alone / "figs").iterdir()} == {"model_prediction_comparison"}
    deck = BeautifulSoup((alone / "presentation" / "slides.html").read_text(encoding="utf-8"), "html.parser")
    assert len(deck.select("section img")) == 1
    text = (alone / "notebooks" / f"{NAMES[-1]}.ipynb").read_text(encoding="utf-8")
    assert "test_results/auroc_baseline.csv" in text and "cnnmodels/mobilenet_inference.json" in text


@pytest.mark.slow
def test_a_notebook_without_its_input_names_the_one_to_run_first(tmp_path, capsys):
    assert main(["run", "--release", "nih", "--home", str(tmp_path / "empty"), "--from", "200"]) == 1
    message = capsys.readouterr().err
    assert "subset/train_set.pkl" in message and "100-data_cleaning_eda" in message
