"""The leak by image, on the phantom: patients whose other images were trained on, against patients who are new."""

import keras
import numpy as np
import pytest

from cxr_utils import evaluation, models
from tests.conftest import draw_images

PATIENTS, IMAGES, SIZE = 80, 10, 64


@pytest.fixture
def clinic():
    """Images of patients who each keep most of their findings: images, labels `(n, 14)`, patients, numbers of the image."""
    rng = np.random.default_rng(3)
    patients, followups = np.divmod(np.arange(PATIENTS * IMAGES), IMAGES)
    usual, passing = rng.random((PATIENTS, 14)) < 0.2, rng.random((len(patients), 14)) < 0.2
    y_true = np.where(rng.random(passing.shape) < 0.8, usual[patients], passing).astype(np.float32)
    images, _ = draw_images(patients, followups, y_true, SIZE)
    return images, y_true, patients, followups


def test_the_same_model_does_better_on_patients_it_has_seen(clinic):
    images, y_true, patients, followups = clinic
    new = patients >= 0.7 * PATIENTS
    trained = ~new & (followups < 0.7 * IMAGES)
    keras.utils.set_random_seed(0)
    model = models.build_baseline(SIZE, batch_norm_momentum=0.9)
    # Dropout hinders learning by heart, which is what is to be found out here.
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy")
    model.fit(images[trained][..., None], y_true[trained], batch_size=32, epochs=10, verbose=0)
    tested = ~trained
    table = evaluation.leakage_table(
        y_true[tested], models.predict(model, images[tested]), patients[tested], ~new[tested]
    )
    assert table.auroc["unseen"] > 0.65  # it has learned findings too
    assert table.upper["unseen"] < table.lower["seen"] and table.lower["difference"] > 0.03
    assert "does better on patients it has seen" in evaluation.describe_leakage(table)
