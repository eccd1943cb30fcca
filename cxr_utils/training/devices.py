"""What trains: number format, all devices of this machine, several hosts. Nothing happens until `configure_devices()` is called."""

import os
import subprocess

import keras

from cxr_utils import config, without_startup_messages

# As long as rank 0 may take to fetch and clean NIH's release before it trains.
_WAIT_S = 24 * 3600


def configure_devices():
    """Chooses number format and devices; call it before any model is built.

    Under `KERAS_BACKEND=jax` every batch is split over all local devices, and over those of other hosts where
    `cxr run --address … --processes … --rank …` started this one: it then waits here for them. TensorFlow uses
    one GPU. Recent NVIDIA GPUs compute in 16 bits (`mixed_bfloat16`), with weights, the images' standardization and the
    probabilities in 32; XLA is left to Keras, which compiles wherever it can.

    Returns:
        A sentence or three that say what is used, with a warning where there is no GPU.

    Raises:
        ValueError: other hosts are to be used, but the backend is not JAX.
    """
    backend = keras.backend.backend()
    with without_startup_messages():
        if config.processes() > 1:
            _connect(backend)
        used = keras.distribution.list_devices()
        if backend == "jax" and len(used) > 1:
            keras.distribution.set_distribution(_SplitImages(devices=used, auto_shard_dataset=False))
    gpus = [device for device in used if device.startswith("gpu")]
    said = [f"Keras {keras.__version__} on {backend}, {len(used)} device(s): {', '.join(used)}."]
    if config.processes() > 1:
        said.append(f"Rank {config.rank()} of {config.processes()} hosts; only rank 0 writes.")
    if backend == "tensorflow" and len(gpus) > 1:
        said.append("TensorFlow uses the first of them; KERAS_BACKEND=jax, set before Python starts, uses all.")
    if gpus and _capability() >= 8:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
        said.append("Computes in mixed_bfloat16.")
    if not gpus:
        said.append(
            "WARNING: no GPU. The phantom or one archive of images is fine on a CPU; all of NIH's images take hours to a day."
        )
    return " ".join(said)


def wait_for_hosts():
    """Waits until all hosts have come here. Does nothing on one host."""
    if config.processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("cxr_utils")


def leave_hosts():
    """Ends the work with other hosts, after the training: rank 0 goes on alone, on its own devices. Does nothing on one host."""
    if config.processes() == 1:
        return
    import jax

    # Waits until all have come: whoever just went would take the others with it.
    jax.distributed.shutdown()
    own = [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    split = _SplitImages(devices=own, auto_shard_dataset=False) if len(own) > 1 else None
    keras.distribution.set_distribution(split)


class _SplitImages(keras.distribution.DataParallel):
    """`DataParallel` for batches of any size.

    Keras' own cuts a batch before the model, which fails for a last batch that the number of devices does not divide. Here
    every device gets the batch whole (8-bit images are small) and takes its part of it inside the model, where XLA also deals
    unequal parts. So loss, batch normalization and metrics see each image once, as on one device, and every host has all
    predictions. The price: every host draws all images of a batch.
    """

    def get_data_layout(self, data_shape):
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    def get_tensor_layout(self, path):
        # The first layer after the images' preparation and the last layer, in all models of `models.py`.
        if path == "grey_to_rgb/output":
            return keras.distribution.TensorLayout([self.batch_dim_name], self.device_mesh)
        if path == "findings/output":
            return keras.distribution.TensorLayout([], self.device_mesh)
        return None


def _connect(backend):
    if backend != "jax":
        raise ValueError(
            f"CXR_PROCESSES is {config.processes()}, but Keras runs on {backend}, which trains on one host: set KERAS_BACKEND=jax "
            "before Python starts."
        )
    import jax

    if not jax.distributed.is_initialized():
        jax.distributed.initialize(
            os.environ["CXR_ADDRESS"], config.processes(), config.rank(), initialization_timeout=_WAIT_S
        )


def _capability():
    """Returns the lowest compute capability of the GPUs, 0 where it is not known; Keras doesn't tell, NVIDIA's own tool does."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        return min(map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0
