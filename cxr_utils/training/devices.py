"""Configures what a training run computes on: number format, devices of this machine, several hosts.

Nothing changes until `configure_devices` is called.
"""

import importlib.util
import os
import subprocess

import keras

from cxr_utils import config, without_startup_messages

# How long the other hosts wait for rank 0, which may have to download and clean NIH's release before it trains.
_WAIT_S = 24 * 3600
# What `make gpu` adds for each backend, and the oldest NVIDIA driver for CUDA 12.
_CUDA_PACKAGE = {"tensorflow": "nvidia", "jax": "jax_cuda12_plugin"}
_OLDEST_DRIVER = 525
# Variables of CUDA and JAX with the values that hide GPUs.
_HIDES = [("CUDA_VISIBLE_DEVICES", ("", "-1")), ("JAX_PLATFORMS", ("cpu",))]


def configure_devices(to_train=False):
    """Chooses the number format and the devices. Call it before any model is built.

    With `KERAS_BACKEND=jax` each batch is split across all local devices, and across those of the other hosts if
    `cxr run --address … --processes … --rank …` started this process; then the call waits for the other hosts.
    TensorFlow uses one GPU. Recent NVIDIA GPUs (compute capability 8 or higher) compute in 16 bits (`mixed_bfloat16`).
    Weights, the standardization of the images and the probabilities stay in 32 bits. Whether XLA is used is left to
    Keras.

    Args:
        to_train: bool, whether to stop if this machine has an NVIDIA GPU that cannot be used, as training would take
            days on the CPU. `CXR_ALLOW_CPU=1` allows it.

    Returns:
        str, a few sentences about what is used, with a warning if there is no GPU.

    Raises:
        ValueError: several hosts are to be used, but the backend is not JAX.
        RuntimeError: the GPU cannot be used; the message names the likely reason.
    """
    backend = keras.backend.backend()
    with without_startup_messages():
        if config.processes() > 1:
            if backend != "jax":
                raise ValueError(
                    f"CXR_PROCESSES is {config.processes()}, but Keras runs on {backend}, which trains on one host "
                    "only: set KERAS_BACKEND=jax before Python starts, or unset CXR_PROCESSES to train on this host."
                )
            import jax

            # JAX would look for the others behind a proxy, and wait without a message.
            host = config.address().rpartition(":")[0]
            os.environ["no_proxy"] = ",".join(filter(None, [os.environ.get("no_proxy"), host]))
            config.hosts_joined = True
            if not jax.distributed.is_initialized():
                jax.distributed.initialize(
                    config.address(), config.processes(), config.rank(), initialization_timeout=_WAIT_S
                )
        used = keras.distribution.list_devices()
        if backend == "jax" and len(used) > 1:
            keras.distribution.set_distribution(_SplitBatches(devices=used, auto_shard_dataset=False))
    gpus = [device for device in used if device.startswith("gpu")]
    # Where a value is unknown, nvidia-smi prints "[N/A]".
    capability = min((float(text) for text in _nvidia_smi("compute_cap") if gpus and text[:1].isdigit()), default=0)
    if capability >= 8:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    reason = None if gpus else _unusable(backend)
    if reason and to_train and not config.allows("CXR_ALLOW_CPU"):
        raise RuntimeError(f"{reason} To train on the CPU all the same, set CXR_ALLOW_CPU=1.")
    sentences = (
        (True, f"Keras {keras.__version__} on {backend}, {len(used)} device(s): {', '.join(used)}."),
        (config.hosts_joined, f"Rank {config.rank()} of {config.processes()} hosts; only rank 0 writes files."),
        (
            backend == "tensorflow" and len(gpus) > 1,
            "TensorFlow uses only the first GPU: set KERAS_BACKEND=jax before Python starts to use all.",
        ),
        (capability >= 8, "Number format: mixed_bfloat16."),
        (
            backend == "tensorflow" and capability >= 10,
            f"WARNING: TensorFlow's packages are older than this GPU (compute capability {capability}): the first step "
            "may take half an hour or fail. Set KERAS_BACKEND=jax before Python starts.",
        ),
        (
            not gpus,
            "WARNING: no GPU. A CPU is enough for the phantom or one archive of images; all of NIH's images take "
            "hours to a day.",
        ),
        (reason, reason),
    )
    return " ".join(sentence for applies, sentence in sentences if applies)


def _unusable(backend):
    """Returns in a sentence why the backend may not see the NVIDIA GPU of this machine; `None` if there is no GPU."""
    if not (gpus := _nvidia_smi("name,driver_version")):
        return None
    name, driver = gpus[0].rsplit(", ", 1)
    hiding = next((f"{key}={os.environ[key]!r}" for key, off in _HIDES if os.environ.get(key) in off), None)
    reasons = (
        (hiding, f"{hiding} hides it: unset this variable"),
        (
            importlib.util.find_spec(_CUDA_PACKAGE[backend]) is None,
            f"this environment has no CUDA for {backend}: run make gpu",
        ),
        (
            driver[:1].isdigit() and int(driver.partition(".")[0]) < _OLDEST_DRIVER,
            f"its driver is older than version {_OLDEST_DRIVER}, which CUDA 12 needs: update the driver",
        ),
        (True, "to see what it reports, run python -c 'import keras; keras.distribution.list_devices()'"),
    )
    reason = next(reason for applies, reason in reasons if applies)
    return f"This machine has an NVIDIA GPU ({name}, driver {driver}), but {backend} does not see it: {reason}."


def wait_for_hosts():
    """Waits until all hosts have reached this call. Does nothing on a single host."""
    if config.hosts_joined:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("cxr_utils")


def leave_hosts():
    """Disconnects from the other hosts after training; rank 0 continues alone on its own devices.

    Does nothing on a single host.
    """
    if not config.hosts_joined:
        return
    import jax

    # It waits for all hosts: a host that just exits would stop the others.
    jax.distributed.shutdown()
    local = [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    keras.distribution.set_distribution(
        _SplitBatches(devices=local, auto_shard_dataset=False) if len(local) > 1 else None
    )


class _SplitBatches(keras.distribution.DataParallel):
    """`DataParallel` for batches of any size.

    Keras' class splits a batch before the model. This fails for a last batch that is not divisible by the number of
    devices. Here every device receives the whole batch (8-bit images are small) and takes its part inside the model,
    where XLA also handles unequal parts. So loss, batch normalization and metrics include each image once, as on one
    device, and every host has all predictions. The cost: every host prepares all images of a batch.
    """

    def get_data_layout(self, data_shape):
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    def get_tensor_layout(self, path):
        # In all models of `models`: the first layer after the preprocessing, and the last layer.
        axes = {"grey_to_rgb/output": [self.batch_dim_name], "findings/output": []}
        return keras.distribution.TensorLayout(axes[path], self.device_mesh) if path in axes else None


def _nvidia_smi(fields):
    """Returns what nvidia-smi reports of each GPU, a list of str; it is empty without nvidia-smi or a GPU."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []
