"""Images from disk to batches, against what else reads them.

    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.input_pipeline

Needs NIH's images of `release1024`. Peers: one core's OpenCV; a bare loop of the same transform on the same threads; Keras'
`ImageDataGenerator` and `tf.data`, both from PNG at every epoch, with the same augmentation. Ends with a line per goal and exits 1
when one is short.
"""

import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks import goals
from cxr_utils import config, data, download, training, without_startup_messages
from cxr_utils.data import pixels
from cxr_utils.download import actions
from cxr_utils.training import batches

with without_startup_messages():
    import tensorflow as tf
    from keras import layers
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

SIZE, BATCH, IMAGES = 128, 32, 60_000
THREADS = os.cpu_count()


def rate(count, work, rounds=3):
    """Returns the median of images per second of `work`, which handles `count` images."""
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def one_core(paths):
    """Decodes and shrinks images one after the other, without any check."""
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY) if image.ndim == 3 else image
        cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def build_cache(frame):
    """Builds the array of images from nothing."""
    for old in (config.home() / "data").glob("pixels_*"):
        old.unlink()
    return data.load_images(frame, SIZE)


def through_keras(batches):
    """Draws an epoch the way `fit` does."""
    adapter = PyDatasetAdapter(batches, shuffle=False)
    adapter.on_epoch_begin()
    for number, _ in enumerate(adapter.get_numpy_iterator(), 1):
        if number == len(batches):
            break
    adapter.on_epoch_end()


def bare_loop(images, order):
    """Gathers and transforms images batch by batch, matrices drawn beforehand."""
    matrices = batches.random_affines(SIZE, BATCH, np.random.default_rng(0))

    def some(which):
        for row, matrix in zip(images.rows[which], matrices):
            cv2.warpAffine(
                images.pixels[row], matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, np.array_split(order, len(order) // BATCH)))


def image_data_generator(frame, paths, y_true):
    """Draws two epochs from `ImageDataGenerator`, ahead in another thread as `fit` does."""
    table = pd.DataFrame({"path": [str(path) for path in paths]}).join(pd.DataFrame(y_true, columns=config.LABELS))
    shift, zoom = batches.SHIFT, batches.ZOOM
    flow = ImageDataGenerator(
        rescale=1 / 255, samplewise_center=True, samplewise_std_normalization=True, fill_mode="reflect",
        width_shift_range=shift, height_shift_range=shift, zoom_range=zoom, rotation_range=batches.ROTATION,
        shear_range=np.rad2deg(np.arctan(batches.SHEAR)),
    ).flow_from_dataframe(
        table, x_col="path", y_col=config.LABELS, class_mode="raw", target_size=(SIZE, SIZE), color_mode="rgb", batch_size=BATCH,
    )  # fmt: skip
    for _ in range(2):
        through_keras(flow)


def tf_data(paths, y_true):
    """Draws two epochs from `tf.data` with Keras' augmentation layers."""
    augment = [
        layers.RandomTranslation(batches.SHIFT, batches.SHIFT, fill_mode="reflect"),
        layers.RandomRotation(batches.ROTATION / 360, fill_mode="reflect"),
        layers.RandomShear(batches.SHEAR, 0, fill_mode="reflect"),
        layers.RandomZoom(batches.ZOOM, batches.ZOOM, fill_mode="reflect"),
    ]

    def read(path, y):
        image = tf.io.decode_png(tf.io.read_file(path), channels=1)
        return tf.image.resize(image, (SIZE, SIZE), method="area"), y

    def change(x, y):
        for layer in augment:
            x = layer(x, training=True)
        return x, y

    images = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], y_true)).shuffle(len(paths))
    images = (
        images.map(read, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(BATCH)
        .map(change, num_parallel_calls=tf.data.AUTOTUNE)
    )
    for _ in range(2):
        for _ in images.prefetch(tf.data.AUTOTUNE):
            pass


def repeated(images, folder):
    """Writes an array of `IMAGES` images on disk, those given over and over."""
    with open(folder / "many.u8", "wb") as stream:
        for start in range(0, IMAGES, 1000):
            stream.write(images[np.arange(start, start + 1000) % len(images)].tobytes())
    many = np.memmap(folder / "many.u8", np.uint8, "r", shape=(IMAGES, SIZE, SIZE))
    return pixels.Images(np.asarray(many), np.arange(IMAGES))


def main():
    real = os.environ.get("CXR_TEST_RELEASES")
    if not real:
        raise SystemExit("CXR_TEST_RELEASES is not set to the folder that holds release1024/")
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXR_HOME"] = folder
        download.download_release(download.find_release(f"{real}/release1024"), None)
        names = sorted(actions.image_names())
        frame = pd.DataFrame({"imgindex": names, "path": [f"data/images/{name}" for name in names]})
        paths = [config.home() / path for path in frame.path]
        y_true = np.random.default_rng(0).integers(0, 2, (len(frame), 14)).astype(np.float32)

        single = rate(len(frame), lambda: one_core(paths))
        build = rate(len(frame), lambda: build_cache(frame))
        few = build_cache(frame)
        images = repeated(few, Path(folder))
        y_many = np.zeros((IMAGES, 14), np.float32)
        batches = training.XrayGenerator(images, y_many, BATCH, training=True, workers=THREADS)
        bare = rate(IMAGES, lambda: bare_loop(images, batches.order), 5)
        ours = rate(IMAGES, lambda: through_keras(batches), 5)
        keras_rate = rate(2 * len(frame), lambda: image_data_generator(frame, paths, y_true))
        tf_rate = rate(2 * len(frame), lambda: tf_data(paths, y_true))

    print(f"{len(frame)} images of 1024×1024 → {SIZE}×{SIZE}; {THREADS} cores; images a second")
    for what, value in {
        "OpenCV, one core, decode + area": single, "array of images, built": build, "bare gather + warpAffine": bare,
        "XrayGenerator, shuffled, augmented": ours, "ImageDataGenerator, from PNG": keras_rate, "tf.data, from PNG": tf_rate,
    }.items():  # fmt: skip
        print(f"  {what:36} {value:10,.0f}")
    return goals.report(
        [
            goals.at_least("cache build, OpenCV on one core = 1", build / single, 1.8),
            goals.at_least(f"generator over {IMAGES:,} images, bare loop = 1", ours / bare, 0.75),
            goals.at_least("generator, ImageDataGenerator = 1", ours / keras_rate, 250),
            goals.at_least("generator, tf.data from PNG = 1", ours / tf_rate, 100),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
