"""All notebooks on NIH's real images; needs CXR_TEST_RELEASES."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_utils import config, run
from cxr_utils.__main__ import main
from tests.test_labels_and_splits import TEST_SHARES
from tests.test_notebooks import NOTEBOOKS

pytestmark = pytest.mark.slow


def _mean_auroc(home, model):
    """Mean AUROC on test images by scikit-learn, over findings with at least 10 positives."""
    test = pd.read_pickle(home / "subset" / "test_set.pkl")
    y_prob = pd.read_csv(home / "test_results" / f"predictions_{model}_test.csv")
    return np.mean([roc_auc_score(test[label], y_prob[label]) for label in config.LABELS if test[label].sum() >= 10])


@pytest.fixture
def run_notebooks(home, monkeypatch):
    """Function that runs some notebooks on a release and returns the folder that they wrote to."""

    def start(release, parameters):
        monkeypatch.setenv("CXR_RELEASE", str(release))
        for path in NOTEBOOKS:
            if path.stem[:3] in parameters:
                assert run.run_notebook(path, home / "notebooks", parameters[path.stem[:3]])
        return home

    return start


def test_notebook_100_gives_the_published_split_with_all_images_in_place(real, home, run_notebooks):
    images = home / "data" / "images"
    images.mkdir(parents=True)
    table = real / "release256" / "Data_Entry_2017_v2020.csv"
    (home / "data" / table.name).write_bytes(table.read_bytes())
    for name in pd.read_csv(table)["Image Index"]:
        (images / name).touch()
    run_notebooks("nih", {"100": {}})
    sets = [
        pd.read_pickle(home / "subset" / f"{name}.pkl") for name in ("subset", "train_set", "valid_set", "test_set")
    ]
    assert [len(frame) for frame in sets] == [109_577, 53_692, 32_874, 23_011]
    assert (sets[3][config.LABELS].mean() * 100).to_dict() == TEST_SHARES


@pytest.mark.timeout(900)
def test_release1024_runs_through_all_notebooks(real, tmp_path):
    home = tmp_path / "run"
    where = ["--release", str(real / "release1024"), "--home", str(home)]
    assert main(["run", *where, "SPLIT=patient", "EPOCHS=1", "210.WEIGHTS=None"]) == 0
    assert len(list((home / "data" / "images").iterdir())) == 178
    table = pd.read_csv(home / "test_results" / "auroc_baseline.csv", index_col="label")
    test = pd.read_pickle(home / "subset" / "test_set.pkl")
    rare = [label for label in config.LABELS if test[label].sum() < 10]
    assert table.auroc[rare].isna().all() and table.auroc.drop(rare).notna().all()
    assert {"Hernia", "Fibrosis"} <= set(rare)


@pytest.mark.timeout(3600)
def test_the_baseline_learns_from_real_images(real, run_notebooks):
    means = []
    for seed in (42, 1):
        split = {"SPLIT": "patient", "SEED": seed}
        training = {"EPOCHS": 60, "PLATEAU": 60, "PATIENCE": 60}
        home = run_notebooks(real / "release256", {"000": {}, "100": split, "200": training, "300": {}})
        means.append(_mean_auroc(home, "baseline"))
    print("mean AUROC on test images, split seeds 42, 1:", np.round(means, 3))
    assert np.mean(means) >= 0.65
