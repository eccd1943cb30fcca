"""Describes runs on the phantom side by side: what is n/a, AUROC, leakage, heat maps.

    .venv/bin/python -m benchmarks.phantom <folder of a run> [<folder of a run> ...]

Prints a table in Markdown with one column for each run (a folder that was `CXR_HOME`); docs/phantom.md has it for both
versions of the phantom.
"""

import os
import re
import sys
from pathlib import Path

import pandas as pd

from cxr_utils import config, data, evaluation, reports


def interval(values, scale=1, digits=3):
    value, lower, upper = (scale * number for number in values)
    return f"{value:.{digits}f} ({lower:.{digits}f} to {upper:.{digits}f})"


def describe(home):
    """Returns what is measured → result (str) for the run in the folder `home`."""
    os.environ["CXR_HOME"] = str(home)
    results, test = home / "test_results", data.load_split()["test"]
    y_true = data.targets(test)
    missing = sum(pd.read_csv(path).isna().sum().sum() for path in results.glob("*.csv"))
    named = sum(len(re.findall(r"\bn/a\b", path.read_text("utf-8"))) for path in results.glob("*.md"))
    rows = {
        "test images, of patients not in the development set": f"{len(test):,}, {(~test.seen).sum():,}",
        "empty cells of the result tables": f"{missing:,}",
        "n/a in the two model cards": f"{named:,}",
    }
    for model in config.RISK_COLUMNS:
        y_prob = reports.load_predictions(f"{model}_test", test)
        table = evaluation.auroc_table(y_true, y_prob, test.patientID)
        rows[f"{model}: mean AUROC"] = evaluation.describe_mean(table)
        rows |= {f"{model}: {label}": f"{table.auroc[label]:.3f}" for label in config.LABELS}
        leakage = evaluation.leakage_table(y_true, y_prob, test.patientID, test.seen).loc["difference"]
        rows[f"{model}: AUROC of patients in the development set − others"] = (
            interval(leakage[["auroc", "lower", "upper"]]) if leakage.findings else "n/a"
        )
        boxes = reports.load_table(f"localisation_{model}").loc["all"]
        for name, prefix in (("heat maps", ""), ("image center", "centre_"), ("mean heat map", "mean_")):
            columns = [f"{prefix}{column}" for column in ("pointing", "lower", "upper")]
            rows[f"{model}: hottest point in the box (%), {name}"] = interval(boxes[columns], 100, 0)
            rows[f"{model}: IoU, {name}"] = f"{boxes[f'{prefix}iou']:.2f}"
    return rows


def main(homes):
    table = pd.DataFrame({home.name: describe(home) for home in homes})
    print("| |", " | ".join(table.columns), "|\n|---|" + "---|" * len(homes))
    for row in table.itertuples():
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main([Path(folder).resolve() for folder in sys.argv[1:]])
