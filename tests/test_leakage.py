"""The leak by image, on the phantom: patients whose other films were trained on, against patients who are new."""

import keras
import numpy as np
import pytest

from cxr_utils import leakage, models
from tests.conftest import draw_films

PATIENTS, FILMS, SIZE = 80, 10, 64


@pytest.fixture
def clinic():
    """Films of patients who each keep most of their findings: films, labels `(n, 14)`, patients, numbers of the film."""
    rng = np.random.default_rng(3)
    patients, followups = np.divmod(np.arange(PATIENTS * FILMS), FILMS)
    usual, passing = rng.random((PATIENTS, 14)) < 0.2, rng.random((len(patients), 14)) < 0.2
    y_true = np.where(rng.random(passing.shape) < 0.8, usual[patients], passing).astype(np.float32)
    films, _ = draw_films(patients, followups, y_true, SIZE)
    return films, y_true, patients, followups


def test_the_same_model_does_better_on_patients_it_has_seen(clinic):
    films, y_true, patients, followups = clinic
    new = patients >= 0.7 * PATIENTS
    trained = ~new & (followups < 0.7 * FILMS)
    keras.utils.set_random_seed(0)
    model = models.build_baseline(SIZE, batch_norm_momentum=0.9)
    # Dropout hinders learning by heart, which is what is to be found out here.
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy")
    model.fit(films[trained][..., None], y_true[trained], batch_size=32, epochs=10, verbose=0)
    tested = ~trained
    table = leakage.leakage(y_true[tested], models.predict(model, films[tested]), patients[tested], ~new[tested])
    assert table.auroc["unseen"] > 0.65  # it has learned findings too
    assert table.upper["unseen"] < table.lower["seen"] and table.lower["difference"] > 0.03
    assert "does better on patients it has seen" in leakage.describe(table)
