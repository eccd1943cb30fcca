"""Evaluation: from labels and predicted probabilities to the numbers in notebooks, charts and the model card.

Calculations only: no Keras, no files, no drawing. `y_true` is `(n, 14)` 0 or 1, `y_prob` `(n, 14)` in [0, 1]; the
columns are in the order of `config.LABELS`. A finding that the model cannot predict, because no training image shows
it, is NaN in all rows of `y_prob`. Like a finding with too few images, it is n/a (NaN) and left out of every mean.

- `metrics`: AUROC and average precision per finding, their averages, and the check of input arrays.
- `resampling`: 95 % intervals by a patient-level (cluster) bootstrap.
- `thresholds`: thresholds chosen on validation images, and the errors at a threshold.
- `calibration`: Platt calibration, reliability bins, Brier score, expected calibration error, prevalence and mean risk.
- `comparison`: difference and agreement of two models on the same images.
- `leakage`: test patients with images in the development set compared with those without.
- `subgroups`: AUROC and false-negative rate by sex, age and view position.
- `adjudicated`: performance against report-derived labels and radiologist-adjudicated reference labels.
- `localization`: heat maps compared with radiologists' bounding boxes.
"""

from cxr_utils.evaluation.adjudicated import adjudicated_table
from cxr_utils.evaluation.calibration import (
    apply_platt,
    calibration_table,
    describe_calibration,
    describe_prevalence,
    prevalence_table,
    reliability,
)
from cxr_utils.evaluation.comparison import agreement_table, describe_difference, difference_table
from cxr_utils.evaluation.leakage import describe_leakage, leakage_table
from cxr_utils.evaluation.localization import (
    compare_with_baselines,
    describe_localization,
    localization_differences,
    localization_table,
)
from cxr_utils.evaluation.metrics import (
    METRICS,
    MIN_CASES,
    auroc,
    auroc_table,
    describe_extremes,
    describe_mean,
    enough_cases,
    not_available,
    with_interval,
)
from cxr_utils.evaluation.subgroups import describe_subgroups, subgroup_table
from cxr_utils.evaluation.thresholds import COUNTS, choose_thresholds, describe_errors, operating_table

__all__ = [
    "COUNTS",
    "METRICS",
    "MIN_CASES",
    "adjudicated_table",
    "agreement_table",
    "apply_platt",
    "auroc",
    "auroc_table",
    "calibration_table",
    "choose_thresholds",
    "compare_with_baselines",
    "describe_calibration",
    "describe_difference",
    "describe_errors",
    "describe_extremes",
    "describe_leakage",
    "describe_localization",
    "describe_mean",
    "describe_prevalence",
    "describe_subgroups",
    "difference_table",
    "enough_cases",
    "leakage_table",
    "localization_differences",
    "localization_table",
    "not_available",
    "operating_table",
    "prevalence_table",
    "reliability",
    "subgroup_table",
    "with_interval",
]
