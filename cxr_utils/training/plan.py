"""Plans a training run: the learning rate, the names of the members, and what it will cost."""

import time

import keras

from cxr_utils import config

# Share of all steps in which the learning rate rises, with the schedule "cosine".
WARM_UP = 0.1


def learning_rate(schedule, highest, steps):
    """Returns the learning rate for an optimizer.

    Args:
        schedule: `"plateau"`, constant until the callback of `build_callbacks` reduces it; or `"cosine"`, which rises
            linearly during the first tenth of the steps and then falls to 0 along a cosine (Loshchilov & Hutter 2017,
            arXiv:1608.03983).
        highest: float, the highest learning rate.
        steps: int, number of training steps of the whole run.

    Returns:
        float or `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: unknown schedule.
    """
    if schedule not in config.SCHEDULES:
        raise ValueError(f"SCHEDULE is '{schedule}': expected {' or '.join(map(repr, config.SCHEDULES))}.")
    if schedule == "plateau":
        return highest
    rise = round(WARM_UP * steps)  # 0 in a run of a few steps, which then starts at the highest rate
    warm_up = {"warmup_target": highest, "warmup_steps": rise} if rise else {}
    return keras.optimizers.schedules.CosineDecay(0.0 if rise else highest, decay_steps=steps - rise, **warm_up)


def member_names(name, members):
    """Returns the prefixes of the files of each member of a model: `["mobilenet", "mobilenet_m2", "mobilenet_m3"]`.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        members: int, number of networks that are trained with different seeds and joined in the model.
    """
    return [name, *(f"{name}_m{number}" for number in range(2, members + 1))]


def describe_cost(members, batches, valid_images, epochs):
    """States the size of a model and, measured on one batch, about how long its training will take.

    Args:
        members: list of the `keras.Model`s to train.
        batches: `XrayGenerator` of the training images.
        valid_images: `(n, size, size)` uint8, validation images.
        epochs: int, at most, for each member.

    Returns:
        str, a sentence.
    """
    x, _ = batches[0]
    members[0].predict_on_batch(x)  # the first call also compiles
    start = time.perf_counter()
    members[0].predict_on_batch(x)
    seconds = (time.perf_counter() - start) / len(x)
    # A training step computes two to three times as much as a prediction.
    minutes = epochs * len(members) * seconds * (2.5 * len(batches.images) + len(valid_images)) / 60
    size = sum(model.count_params() for model in members) * 4 / 1e6
    several = len(members) > 1
    return (
        f"{len(members)} network{'s' * several} with {size:.1f} MB of weights; the file of each best epoch is three "
        f"times as large. {epochs} epochs{' of each' * several} take about {minutes:.1f} minutes (estimated from one "
        "batch)."
    )
