"""What a result owes to patients that the model has seen before."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation, resampling


def leakage(y_true, y_prob, patients, seen):
    """Compares films of patients in training or validation with those of patients in neither, over the same findings.

    Args:
        y_true: `(n, 14)` 0 or 1, of test films.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, whose film it is.
        seen: `(n,)` bool, whether the patient was in training or validation.

    Returns:
        Frame of the rows `"seen"`, `"unseen"` and `"difference"` (seen − unseen) with `auroc`, `lower`, `upper` (mean over the
        findings that both have on at least `evaluation.MIN_CASES` films with and without, 95 % by patient bootstrap; NaN when there is none),
        `films`, `patients` and `findings`.

    Raises:
        ValueError: as of `evaluation.check`, or a film has no patient.
    """
    evaluation.check(y_true, y_prob)
    patients, seen = np.asarray(patients), np.asarray(seen, bool)
    if not patients.shape == seen.shape == (len(y_true),):
        raise ValueError(
            f"Patients have the shape {patients.shape}, seen {seen.shape}: expected ({len(y_true)},) of both, one for each film."
        )
    groups = {"seen": seen, "unseen": ~seen}
    both = np.flatnonzero(evaluation.enough(y_true[seen]) & evaluation.enough(y_true[~seen]))
    rows, drawn = {}, {}
    for name, films in groups.items():
        rows[name] = {"films": films.sum(), "patients": len(np.unique(patients[films])), "findings": len(both)}
        if len(both):
            true, prob, whose = y_true[films][:, both], y_prob[films][:, both], patients[films]
            table = evaluation.measures(true, prob, whose)
            rows[name] |= {key: table.attrs["mean"][key] for key in ("auroc", "lower", "upper")}
            # The groups are of different patients: each has draws of its own.
            samples, _ = resampling.bootstrap(true, prob, whose, seed=config.SEED + len(drawn))
            # By deviations, as in `measures`: a draw without a rare finding would have the mean level of the others.
            drawn[name] = np.nanmean(samples - table.auroc.to_numpy(), axis=1)
    rows["difference"] = {"films": len(seen), "patients": len(np.unique(patients)), "findings": len(both)}
    if len(both):
        value = rows["seen"]["auroc"] - rows["unseen"]["auroc"]
        lower, upper = value + resampling.interval(drawn["seen"] - drawn["unseen"])
        rows["difference"] |= {"auroc": value, "lower": lower, "upper": upper}
    columns = ["auroc", "lower", "upper", "films", "patients", "findings"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def describe(table):
    """Says in words what the difference in a table of `leakage` means."""
    seen, unseen, difference = (table.loc[row] for row in ("seen", "unseen", "difference"))
    if not seen.films:
        return (
            f"No test film shows a patient of training or validation, by check of all {unseen.films:,.0f}: nothing here is owed to "
            "recognising patients."
        )
    counts = f"{seen.films:,.0f} films of seen patients, {unseen.films:,.0f} of unseen ones"
    if not difference.findings:
        return (
            f"{counts}: no finding is on {evaluation.MIN_CASES} films of both, so these films can't tell how much of the result is owed to "
            "recognising patients. Trust it the less."
        )
    told = (
        f"{counts}: mean AUROC {evaluation.with_interval(*seen.iloc[:3])} against {evaluation.with_interval(*unseen.iloc[:3])}, a difference of "
        f"{difference.auroc:+.3f} ({difference.lower:+.3f} to {difference.upper:+.3f}) over {difference.findings:.0f} findings. "
    )
    if difference.lower > 0:
        # Of a patient with many films one is the likelier in training: the groups differ in more than in having been seen.
        return told + (
            "The model does better on patients it has seen: it recognises them, or they, who have more films, are the easier ones. Expect the "
            "lower figure for new patients."
        )
    if difference.upper < 0:
        return told + "Unseen patients fare better here, so recognition can't be the reason: their films may be easier."
    return told + "These films can't tell whether the model profits from having seen the patients."
