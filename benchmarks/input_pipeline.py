"""Compares the speed from images on disk to training batches with other ways to read and augment images.

    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.input_pipeline

Needs NIH's images in `release1024`. The comparison is with OpenCV on one core, with a bare loop of the same transform
on the same threads, and with Keras' `ImageDataGenerator` and `tf.data`. The last two read the PNG files in every epoch
and use the same augmentation. Ends with one line per goal and exits with 1 if a goal is not met.
"""

import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd

from benchmarks import goals
from cxr_utils import config, data, download, training, without_startup_messages
from cxr_utils.data import augmentation, pixels

with without_startup_messages():
    import tensorflow as tf
    from keras import layers
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

SIZE, BATCH, IMAGES = 128, 32, 60_000
THREADS = joblib.cpu_count()


def rate(count, work, rounds=3):
    """Returns the median speed, in images per second, of the function `work`, which processes `count` images."""
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def one_core(paths):
    """Decodes and resizes images one after the other, without checks."""
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY) if image.ndim == 3 else image
        cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def build_cache(frame):
    """Deletes the array of images and builds it again."""
    for old in (config.home() / "data").glob("pixels_*"):
        old.unlink()
    return data.load_images(frame, SIZE)


def through_keras(generator):
    """Reads the batches of one epoch as `fit` does."""
    adapter = PyDatasetAdapter(generator, shuffle=False)
    adapter.on_epoch_begin()
    for number, _ in enumerate(adapter.get_numpy_iterator(), 1):
        if number == len(generator):
            break
    adapter.on_epoch_end()


def bare_loop(images, order):
    """Reads and transforms images batch by batch, with transforms that were sampled in advance."""
    matrices = augmentation.random_affines(SIZE, BATCH, np.random.default_rng(0))

    def transform(batch):
        for row, matrix in zip(images.rows[batch], matrices, strict=True):
            cv2.warpAffine(
                images.pixels[row], matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(transform, np.array_split(order, len(order) // BATCH)))


def image_data_generator(frame, paths, y_true):
    """Reads two epochs from `ImageDataGenerator`, prefetched in another thread as in `fit`."""
    table = pd.DataFrame({"path": [str(path) for path in paths]}).join(pd.DataFrame(y_true, columns=config.LABELS))
    shift, zoom = augmentation.SHIFT, augmentation.ZOOM
    flow = ImageDataGenerator(
        rescale=1 / 255, samplewise_center=True, samplewise_std_normalization=True, fill_mode="reflect",
        width_shift_range=shift, height_shift_range=shift, zoom_range=zoom, rotation_range=augmentation.ROTATION,
        shear_range=np.rad2deg(np.arctan(augmentation.SHEAR)),
    ).flow_from_dataframe(
        table, x_col="path", y_col=config.LABELS, class_mode="raw", target_size=(SIZE, SIZE), color_mode="rgb",
        batch_size=BATCH,
    )  # fmt: skip
    for _ in range(2):
        through_keras(flow)


def tf_data(paths, y_true):
    """Reads two epochs from `tf.data`, with Keras' augmentation layers."""
    augment = [
        layers.RandomTranslation(augmentation.SHIFT, augmentation.SHIFT, fill_mode="reflect"),
        layers.RandomRotation(augmentation.ROTATION / 360, fill_mode="reflect"),
        layers.RandomShear(augmentation.SHEAR, 0, fill_mode="reflect"),
        layers.RandomZoom(augmentation.ZOOM, augmentation.ZOOM, fill_mode="reflect"),
    ]

    def read(path, y):
        image = tf.io.decode_png(tf.io.read_file(path), channels=1)
        return tf.image.resize(image, (SIZE, SIZE), method="area"), y

    def augmented(x, y):
        for layer in augment:
            x = layer(x, training=True)
        return x, y

    images = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], y_true)).shuffle(len(paths))
    images = (
        images.map(read, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(BATCH)
        .map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    )
    for _ in range(2):
        for _ in images.prefetch(tf.data.AUTOTUNE):
            pass


def repeated(images, folder):
    """Writes an array of `IMAGES` images to disk by repeating the given ones, and opens it."""
    with open(folder / "many.u8", "wb") as stream:
        for start in range(0, IMAGES, 1000):
            stream.write(images[np.arange(start, start + 1000) % len(images)].tobytes())
    many = np.memmap(folder / "many.u8", np.uint8, "r", shape=(IMAGES, SIZE, SIZE))
    return pixels.Images(np.asarray(many), np.arange(IMAGES))


def main():
    real = os.environ.get("CXR_TEST_RELEASES")
    if not real:
        raise SystemExit("Set CXR_TEST_RELEASES to the folder that contains release1024/.")
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXR_HOME"] = folder
        download.download_release(download.find_release(f"{real}/release1024"), None)
        names = sorted(download.image_names())
        frame = pd.DataFrame({"imgindex": names, "path": [f"data/images/{name}" for name in names]})
        paths = [config.home() / path for path in frame.path]
        y_true = np.random.default_rng(0).integers(0, 2, (len(frame), 14)).astype(np.float32)

        single = rate(len(frame), lambda: one_core(paths))
        build = rate(len(frame), lambda: build_cache(frame))
        images = repeated(build_cache(frame), Path(folder))
        y_many = np.zeros((IMAGES, 14), np.float32)
        generator = training.XrayGenerator(images, y_many, BATCH, training=True, workers=THREADS)
        bare = rate(IMAGES, lambda: bare_loop(images, generator.order), 5)
        ours = rate(IMAGES, lambda: through_keras(generator), 5)
        keras_rate = rate(2 * len(frame), lambda: image_data_generator(frame, paths, y_true))
        tf_rate = rate(2 * len(frame), lambda: tf_data(paths, y_true))

    print(f"{len(frame)} images of 1024×1024 → {SIZE}×{SIZE}; {THREADS} cores; images per second")
    for what, value in {
        "OpenCV on one core, decode + resize": single,
        "array of images, built": build,
        "bare loop, read + warpAffine": bare,
        "XrayGenerator, shuffled, augmented": ours,
        "ImageDataGenerator, from PNG": keras_rate,
        "tf.data, from PNG": tf_rate,
    }.items():
        print(f"  {what:36} {value:10,.0f}")
    return goals.report(
        [
            goals.at_least("array of images, relative to OpenCV on one core", build / single, 1.8),
            goals.at_least(f"generator over {IMAGES:,} images, relative to the bare loop", ours / bare, 0.75),
            goals.at_least("generator, relative to ImageDataGenerator", ours / keras_rate, 250),
            goals.at_least("generator, relative to tf.data from PNG", ours / tf_rate, 100),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
