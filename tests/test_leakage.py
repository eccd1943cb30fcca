"""Leakage on phantom images: test patients with other images in the training set, compared with new patients."""

import keras
import numpy as np
import pytest

from cxr_utils import evaluation, models
from tests.conftest import draw_images
from tests.helpers import only_in_ci, seeded

PATIENTS, IMAGES, SIZE = 80, 10, 64


@pytest.fixture
def persistent_findings():
    """Images of patients whose findings persist: images, labels `(n, 14)`, patients, number of the image."""
    rng = seeded(3)
    patients, followups = np.divmod(np.arange(PATIENTS * IMAGES), IMAGES)
    usual, transient = rng.random((PATIENTS, 14)) < 0.2, rng.random((len(patients), 14)) < 0.2
    y_true = np.where(rng.random(transient.shape) < 0.8, usual[patients], transient).astype(np.float32)
    images, _ = draw_images(patients, followups, y_true, SIZE)
    return images, y_true, patients, followups


@only_in_ci
@pytest.mark.slow
def test_auroc_is_higher_for_patients_with_images_in_the_training_set(persistent_findings):
    images, y_true, patients, followups = persistent_findings
    new = patients >= 0.7 * PATIENTS
    trained = ~new & (followups < 0.7 * IMAGES)
    keras.utils.set_random_seed(0)
    model = models.build_baseline(SIZE, batch_norm_momentum=0.9)
    # Dropout reduces memorization, which this test has to provoke.
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy")
    model.fit(images[trained][..., None], y_true[trained], batch_size=32, epochs=10, verbose=0)
    tested = ~trained
    table = evaluation.leakage_table(
        y_true[tested], models.predict(model, images[tested]), patients[tested], ~new[tested]
    )
    assert table.auroc["unseen"] > 0.65  # the model has learned the findings, too
    assert table.upper["unseen"] < table.lower["seen"] and table.lower["difference"] > 0.03
