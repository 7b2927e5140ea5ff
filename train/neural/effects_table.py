"""The table of a comparison (`effects`): quality, f-evaluations and time of every variant beside the baseline's.

Quality is compared item by item: with s_i the score of test item i, mean over the seeds that both variants finished,
the difference of the accuracies (in points), or the ratio of the mean squared errors less one (in per cent), has a
percentile interval from resampling the items (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
It says how sure the difference is given these trained models; how much training itself varies is the spread over the
seeds.  Ratios of counts and times are geometric means over common seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .effects import Spec, Unit, collect

RESAMPLES = 10_000
COUNTS = {
    "test_nfev": "nfe", "field_calls": "training_nfe", "train_s": "training_time", "train_cpu_s": "training_cpu",
    "predict_s": "prediction_time",
}  # fmt: skip
COLUMNS = (
    "task", "tol", "variant", "seeds", "test metric", "against baseline [95 %]", "NFE", "ratio", "rejected",
    "training NFE",
    "training time", "CPU time", "prediction time",
)  # fmt: skip
#: columns that a narrow table leaves out, the last one first
MORE = ("training NFE", "rejected", "CPU time", "prediction time", "training time")


def bootstrap(
    scores: NDArray[np.float64], base: NDArray[np.float64], relative: bool, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Difference of two means over paired items, with its interval: (estimate, low, high).

    scores, base: (n,), n >= 2, of the same items.  relative: mean(scores)/mean(base) - 1 in the place of the
    difference. The interval is that of resampled items, at `level`.
    """
    if scores.shape != base.shape or scores.ndim != 1 or len(scores) < 2:
        raise ValueError(
            f"two paired rows of at least two scores are needed, got shapes {scores.shape} and {base.shape}"
        )
    rng, n = np.random.default_rng(seed), len(scores)
    pair = np.stack([scores, base], axis=1)

    def figure(means: NDArray[np.float64]) -> NDArray[np.float64]:
        return means[..., 0] / means[..., 1] - 1 if relative else means[..., 0] - means[..., 1]

    drawn = [figure(rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES // 10) @ pair / n) for _ in range(10)]
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(figure(pair.mean(0))), float(low), float(high)


def summary(spec: Spec, out: str | Path) -> list[dict[str, Any]]:
    """One row a task, tolerance and variant that has a finished run:

    task, tolerance, variant, seeds     names; seeds that finished
    diverged                            seeds that did not
    own_tolerance                       what the variant ran at
    metric, mean, spread                test metric, its mean and standard deviation over the seeds (None with one seed)
    difference, low, high               against the baseline: accuracy in units of one, mse relative; None for itself
    nfe, rejected                       mean f-evaluations and rejections of a test solve
    nfe_ratio, training_nfe_ratio, training_time_ratio, training_cpu_ratio, prediction_time_ratio    to the baseline's
    """
    ended = {(r["task"], r["tolerance"], r["variant"], r["seed"]): r for r in collect(spec, out)}
    units = {(u.task, u.tolerance, u.variant, u.seed): u for u in spec.units}
    table = []
    for task, tolerance, variant in dict.fromkeys(key[:3] for key in units):
        mine = {k[3]: r for k, r in ended.items() if k[:3] == (task, tolerance, variant)}
        finished = {seed: r for seed, r in mine.items() if r["status"] == "finished"}
        if not finished:
            if mine:
                table.append(
                    {"task": task, "tolerance": tolerance, "variant": variant, "seeds": [], "diverged": sorted(mine)}
                )
            continue
        values = np.array([r["test"] for r in finished.values()])
        metric = next(iter(finished.values()))["metric"]
        row: dict[str, Any] = {
            "task": task, "tolerance": tolerance, "variant": variant, "seeds": sorted(finished),
            "own_tolerance": units[task, tolerance, variant, min(finished)].config.solver.tolerance,
            "diverged": sorted(set(mine) - set(finished)), "metric": metric, "mean": float(values.mean()),
            "spread": float(values.std(ddof=1)) if len(values) > 1 else None, "difference": None, "low": None,
            "high": None,
            "nfe": float(np.mean([r["test_nfev"] for r in finished.values()])),
            "rejected": float(np.mean([r["test_nreject"] for r in finished.values()])),
        }  # fmt: skip
        base = {seed: ended.get((task, tolerance, spec.baseline, seed)) for seed in finished}
        common = [seed for seed, r in base.items() if r is not None and r["status"] == "finished"]
        for key, name in COUNTS.items():
            row[f"{name}_ratio"] = _ratio([(finished[s][key], base[s][key]) for s in common])  # type: ignore[index]
        if common and variant != spec.baseline:
            mean = [_scores(out, [units[task, tolerance, v, s] for s in common]) for v in (variant, spec.baseline)]
            row["difference"], row["low"], row["high"] = bootstrap(mean[0], mean[1], metric == "mse")
        table.append(row)
    return table


def _scores(out: str | Path, units: Sequence[Unit]) -> NDArray[np.float64]:
    """(n,) mean over runs of the test items' scores."""
    found = []
    for unit in units:
        with np.load(Path(out) / unit.folder / "scores.npz") as file:
            found.append(file["scores"][np.argsort(file["rows"])])
    return np.mean(found, axis=0)


def _ratio(pairs: Sequence[tuple[float, float]]) -> float | None:
    return math.exp(float(np.mean([math.log(a / b) for a, b in pairs]))) if pairs else None


def texts(table: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The summary's rows as text, in the order of COLUMNS."""
    out = []
    for row in table:
        seeds = f"{len(row['seeds'])}" + (f" ({len(row['diverged'])} diverged)" if row["diverged"] else "")
        own = row.get("own_tolerance", row["tolerance"])
        level = f"{row['tolerance']:g}" + ("" if own == row["tolerance"] else f" ({own:g})")
        head = (row["task"], level, row["variant"], seeds)
        if not row["seeds"]:
            out.append((*head, *[""] * (len(COLUMNS) - 4)))
            continue
        share = row["metric"] == "accuracy"
        scale, digits, unit = (100, 2, "points") if share else (1, 4, "%")
        quality = f"{scale * row['mean']:.{digits}f}" + (
            "" if row["spread"] is None else f" ± {scale * row['spread']:.{digits}f}"
        )
        quality += " %" if share else ""
        against = ""
        if row["difference"] is not None:
            middle, low, high = (100 * row[k] for k in ("difference", "low", "high"))
            against = f"{middle:+.2f} [{low:+.2f}, {high:+.2f}] {unit}"
        ratios = [_text(row[f"{name}_ratio"]) for name in COUNTS.values()]
        out.append((*head, quality, against, f"{row['nfe']:.1f}", ratios[0], f"{row['rejected']:.1f}", *ratios[1:]))
    return out


def _text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
