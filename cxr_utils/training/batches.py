"""Makes Keras batches from the image array, with augmentation for training."""

import joblib
import keras
import numpy as np

from cxr_utils import config
from cxr_utils.data import augment


class XrayGenerator(keras.utils.PyDataset):
    """Batches of images and their labels.

    A batch depends only on the seed, the epoch and its number, so it is the same for any number of workers.

    Args:
        images: `(n, size, size)` uint8, `data.Images` or an array.
        y_true: `(n, 14)` 0 or 1.
        batch_size: int.
        training: bool. If true, images are shuffled in every epoch and augmented; otherwise they come unchanged and in
            order.
        seed: int.
        **kwargs: of `keras.utils.PyDataset`, such as `workers`.

    Raises:
        ValueError: there are no images, or not as many rows of labels as images.
    """

    def __init__(self, images, y_true, batch_size, training=False, seed=config.SEED, **kwargs):
        # Threads suffice: reading and transforming images releases Python's global interpreter lock.
        super().__init__(**{"workers": min(8, joblib.cpu_count()), **kwargs})
        if len(images) != len(y_true) or not len(images):
            raise ValueError(
                f"{len(images)} images and {len(y_true)} rows of labels: expected the same number, at least one."
            )
        self.images = images
        self.y_true = np.asarray(y_true, np.float32)
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.start_epoch(0)

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number):
        """Returns `(x, y)`: `(b, size, size, 1)` uint8 and `(b, 14)` float32. The last batch may be smaller."""
        positions = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, number])
        x = augment(self.images, positions, rng) if self.training else self.images[positions]
        return x[..., None], self.y_true[positions]

    def on_epoch_end(self):
        self.start_epoch(self.epoch + 1)

    def start_epoch(self, epoch):
        """Sets the epoch, counted from 0, of the next batches; `fit` advances it at the end of every epoch."""
        self.epoch = epoch
        self.order = np.arange(len(self.images))
        if self.training:
            np.random.default_rng([self.seed, epoch]).shuffle(self.order)
