"""Compares methods of heat maps with boxes: tuned on the boxes of training images, judged on those of test images.

    CXR_HOME=<folder of a run> .venv/bin/python -m benchmarks.heat_maps

For both trained models of the folder: Grad-CAM, HiResCAM and LayerCAM on feature maps of every size, with Gaussian
smoothing, as the sum or the product of two sizes, and averaged over the transforms of test-time augmentation. Prints
the best methods on training images, then the method of `explain.layer_cam` on test images, with the differences to the
input-independent baselines (95 % intervals, patient-level bootstrap, paired), and its time relative to a forward pass.
"""

import itertools
import sys
import time

import cv2
import numpy as np

from benchmarks import goals
from cxr_utils import config, data, evaluation, reports, without_startup_messages
from cxr_utils.data import augmentation
from cxr_utils.evaluation import localization

with without_startup_messages():
    import keras
    import tensorflow as tf

    from cxr_utils import explain, models

SMOOTHING = (0, 0.025, 0.05, 0.075)  # standard deviation as a share of the image's side
BATCH = 16
SHOWN = 25  # methods printed


def feature_maps(model):
    """Returns the last activation of each size of feature maps between 2 and 64 pixels per side, by size."""
    layers = {}
    for layer in model.layers:
        shape = getattr(layer.output, "shape", ())
        if len(shape) == 4 and 2 <= shape[1] <= 64 and not isinstance(layer, keras.layers.ZeroPadding2D):
            layers[shape[1]] = layer
    return dict(sorted(layers.items()))


def heat_by_method(model, images, findings):
    """Returns `(method, size of feature maps)` → heat `(n, size, size)`, not smoothed."""
    layers, side = feature_maps(model), model.input_shape[1]
    forward = keras.Model(model.inputs[0], [*(layer.output for layer in layers.values()), model.layers[-1].input])
    columns = keras.ops.convert_to_numpy(model.layers[-1].kernel).T[[config.LABELS.index(name) for name in findings]]

    @tf.function(reduce_retracing=True)
    def gradients(pixels, column):
        with tf.GradientTape() as tape:
            *maps, last = forward(pixels, training=False)
            logit = tf.reduce_sum(last * column)
        return maps, tape.gradient(logit, maps)

    heat = {}
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        for size, maps, gradient in zip(
            layers, *gradients(tf.constant(images[part][..., None]), tf.constant(columns[part])), strict=True
        ):
            maps, gradient = np.float32(maps), np.float32(gradient)
            sums = {
                "Grad-CAM": maps * gradient.mean((1, 2), keepdims=True),
                "HiResCAM": maps * gradient,
                "LayerCAM": maps * np.maximum(gradient, 0),
            }
            for method, products in sums.items():
                small = np.maximum(products.sum(-1), 0)
                heat.setdefault((method, size), []).extend(cv2.resize(values, (side, side)) for values in small)
    return {key: normalized(np.float32(values)) for key, values in heat.items()}


def normalized(heat):
    return heat / np.maximum(heat.max((1, 2), keepdims=True), 1e-12)


def smoothed(heat, share):
    sigma = share * heat.shape[1]
    return np.float32([cv2.GaussianBlur(values, (0, 0), sigma) for values in heat]) if share else heat


def augmented(model, images, findings, key):
    """Returns the heat of one method, averaged over the image and the transforms of test-time augmentation."""
    heat = [heat_by_method(model, images, findings)[key]]
    for matrix in data.fixed_affines(images.shape[1]):
        moved = augmentation.transform(images, [matrix] * len(images))
        values = heat_by_method(model, moved, findings)[key]
        back = cv2.invertAffineTransform(matrix)
        heat.append(np.float32([cv2.warpAffine(one, back, one.shape) for one in values]))
    return np.mean(heat, axis=0)


def measures(cases, heat):
    """Returns hit (0 or 1) and IoU of each case, `(n, 2)`."""
    masks = [localization.box_mask(boxes, heat.shape[1]) for boxes in cases.boxes]
    hot = heat >= np.maximum(heat.max((1, 2), keepdims=True) / 2, 1e-12)
    hits = [mask.flat[values.argmax()] and values.max() > 0 for values, mask in zip(heat, masks, strict=True)]
    overlap = [(a & b).sum() / (a | b).sum() for a, b in zip(hot, masks, strict=True)]
    return np.transpose([np.float64(hits), overlap])


def main():
    frames, lines = data.load_split(), []
    boxes = data.read_boxes(config.data_folder() / config.BOXES)
    for name in ("baseline", "mobilenet"):
        model = models.load_model(name)
        side = model.input_shape[1]
        cases, images = {}, {}
        for part in ("training", "test"):
            cases[part] = data.select_cases(boxes, frames[part])
            images[part] = np.asarray(data.load_images(frames[part], side)[cases[part].image.to_numpy()])
        train = cases["training"]
        plain = heat_by_method(model, images["training"], train.label)
        tried = {(*key, share): smoothed(heat, share) for key, heat in plain.items() for share in SMOOTHING}
        by_size = {size: heat for (method, size), heat in plain.items() if method == "LayerCAM"}
        for (a, b), share in itertools.product(itertools.combinations(by_size, 2), SMOOTHING):
            tried[f"LayerCAM {a} + {b}", "", share] = smoothed(by_size[a] + by_size[b], share)
            tried[f"LayerCAM {a} × {b}", "", share] = smoothed(by_size[a] * by_size[b], share)
        scores = {key: measures(train, heat).mean(0) for key, heat in tried.items()}
        best = max((key for key in scores if key[1]), key=lambda key: scores[key][0])
        scores[*best[:2], f"{best[2]}, augmented"] = measures(
            train, smoothed(augmented(model, images["training"], train.label, best[:2]), best[2])
        ).mean(0)
        print(f"\n{name}, {len(train)} boxed findings of {train.patientID.nunique()} patients, training images")
        kept = sorted(scores, key=lambda key: -scores[key][0])
        for key in [*kept[:SHOWN], *(key for key in kept[SHOWN:] if key[2] == 0 and key[1])]:
            print(f"  hit {100 * scores[key][0]:5.1f} %  IoU {scores[key][1]:.3f}  {' '.join(map(str, key))}")
        lines += judge(name, model, cases["test"], images["test"])
    return goals.report(lines)


def judge(name, model, cases, images):
    """Evaluates `explain.layer_cam` on test images and returns the lines of the goals."""
    explain.layer_cam(model, images[:BATCH], list(cases.label[:BATCH]))  # compiles
    prob = models.predict(model, images, BATCH)
    times = [time.perf_counter()]
    models.predict(model, images, BATCH)
    times.append(time.perf_counter())
    heat = explain.layer_cam(model, images, list(cases.label))
    times.append(time.perf_counter())
    forward, maps = np.diff(times)
    table = evaluation.localization_table(cases, heat)
    print(f"\n{name}, test images: {evaluation.describe_localization(table)}")
    settings = reports.load_inference_settings(config.home() / "cnnmodels" / f"{name}_model.h5")
    shown = prob[np.arange(len(cases)), [config.LABELS.index(label) for label in cases.label]]
    flagged = shown >= settings.youden[cases.label].to_numpy()
    print(evaluation.localization_differences(cases, heat, flagged).round(2).to_string())
    return [goals.at_most(f"{name}: heat maps relative to a forward pass", maps / forward, 5)]


if __name__ == "__main__":
    sys.exit(main())
