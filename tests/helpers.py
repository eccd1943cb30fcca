"""Functions that several tests use."""

import io
import os
import re

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config

# The backbone of the notebooks; all of them, as in CI, if CXR_TEST_ALL is set.
TESTED_BACKBONES = config.BACKBONES if os.environ.get("CXR_TEST_ALL") else ["MobileNet"]
# Mark of a test that takes more than half a minute and adds to what shorter ones test.
only_in_ci = pytest.mark.skipif(
    not os.environ.get("CXR_TEST_ALL"), reason="takes more than half a minute: set CXR_TEST_ALL, as CI does"
)


def seeded(seed):
    """Returns a random generator and prints its seed, which pytest shows if the test fails."""
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def numbers(sentence):
    """Returns the numbers in a sentence, in their order."""
    return [float(text.replace("−", "-")) for text in re.findall(r"[+−-]?\d+(?:\.\d+)?", sentence.replace("–", " "))]


def from_csv(table):
    """Returns a frame as read back from a CSV file: counts are floats, attributes are lost."""
    names = [name or "index" for name in table.index.names]
    read = pd.read_csv(io.StringIO(table.rename_axis(names).reset_index().to_csv(index=False)))
    counts = read.select_dtypes("integer").columns.difference(names)
    return read.astype(dict.fromkeys(counts, float)).set_index(names if len(names) > 1 else names[0])
