"""Progress bars for long work."""

import sys

from tqdm import tqdm


def progress(**options):
    """Returns a `tqdm` bar that looks the same in a notebook, a terminal and a log file.

    Args:
        **options: options of `tqdm`, such as `total`, `desc`, `unit` and `unit_scale`.

    Returns:
        A `tqdm.tqdm` that writes plain text to stdout (a notebook shows stderr on a red background) and is updated at
        most every two seconds.
    """
    return tqdm(file=sys.stdout, mininterval=2, **options)
