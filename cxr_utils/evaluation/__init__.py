"""Evaluation: from labels and predicted probabilities to the numbers in notebooks, charts and the model card.

Calculations only: no Keras, no files, no drawing. `y_true` is `(n, 14)` 0 or 1, `y_prob` `(n, 14)` in [0, 1]; the
columns are in the order of `config.LABELS`. A finding that the model cannot predict, because no training image shows
it, is NaN in all rows of `y_prob`. Like a finding with too few images, it is n/a (NaN) and left out of every mean.

- `arrays`: the check of labels and predictions, and which findings have enough patients to be evaluated.
- `intervals`: 95 % intervals in closed form, of proportions and of AUROC, with the patient as the unit.
- `resampling`: 95 % intervals by a patient-level (cluster) bootstrap.
- `metrics`: AUROC and average precision per finding, and their averages.
- `thresholds`: thresholds chosen on validation images, the errors at a threshold, and its net benefit.
- `per_image`: errors per image, at the thresholds of all findings.
- `logistic`: logistic regression, with patients as clusters.
- `calibration`: Platt calibration; calibration slope and intercept, observed/expected, Brier skill, calibration error.
- `differences`: intervals and p-values of differences, corrected for multiple comparisons (Holm).
- `comparison`: difference and agreement of two models on the same images.
- `leakage`: test patients with images in the development set compared with those without.
- `subgroups`: differences in AUROC, sensitivity and false-positive rate by sex, age and view position.
- `adjudicated`: performance against report-derived labels and radiologist-adjudicated reference labels.
- `localization`: heat maps compared with radiologists' bounding boxes.
"""

from cxr_utils.evaluation.adjudicated import adjudicated_table
from cxr_utils.evaluation.arrays import MIN_CASES, enough_cases
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
    auroc,
    auroc_table,
    describe_extremes,
    describe_mean,
    metric_table,
    not_available,
    with_interval,
)
from cxr_utils.evaluation.per_image import PER_IMAGE, describe_per_image, per_image_table
from cxr_utils.evaluation.subgroups import MEASURES, describe_subgroups, subgroup_table
from cxr_utils.evaluation.thresholds import (
    COUNTS,
    at_prevalence,
    choose_thresholds,
    describe_errors,
    describe_target,
    net_benefit,
    operating_table,
)

__all__ = [
    "COUNTS",
    "MEASURES",
    "METRICS",
    "MIN_CASES",
    "PER_IMAGE",
    "adjudicated_table",
    "agreement_table",
    "apply_platt",
    "at_prevalence",
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
    "describe_per_image",
    "describe_prevalence",
    "describe_subgroups",
    "describe_target",
    "difference_table",
    "enough_cases",
    "leakage_table",
    "localization_differences",
    "localization_table",
    "metric_table",
    "net_benefit",
    "not_available",
    "operating_table",
    "per_image_table",
    "prevalence_table",
    "reliability",
    "subgroup_table",
    "with_interval",
]
