"""What was measured as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .clock import best

Times = dict[tuple[str, str], np.ndarray]


def line(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def head(cells: Sequence[str]) -> None:
    line(cells)
    print("|" + "---|" * len(cells))


def micro(seconds: float, method: str = "") -> str:
    if np.isnan(seconds):
        return "not reached"
    return f"{seconds * 1e6:.3g}" + (f" ({method})" if method else "")


def ratio(value: float) -> str:
    """A ratio as it is printed; 0 and infinity stand for an error that one side alone reaches."""
    if np.isnan(value):
        return "-"
    return {0.0: "Stepsmith alone", np.inf: "the peer alone"}.get(value, f"{value:.2f}")


def ratios(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Ours over theirs at every level; 0 where we alone reach it, infinity where they alone do."""
    there = np.where(np.isnan(theirs), 0.0, np.inf)
    return np.where(np.isnan(ours) != np.isnan(theirs), np.where(np.isnan(ours), there, 0.0), ours / theirs)


def beside(times: Times, levels: Sequence[float], peers: Sequence[str]) -> dict[str, np.ndarray]:
    """Print a row a level, ours and every peer with the ratio; returns the ratios of every peer."""
    ours, methods = best(times, "Stepsmith", len(levels))
    theirs = {peer: best(times, peer, len(levels)) for peer in peers}
    found = {peer: ratios(ours, seconds) for peer, (seconds, _) in theirs.items()}
    cells = ["error", "Stepsmith"]
    for peer in peers:
        cells += [peer, f"Stepsmith / {peer}"]
    head(cells)
    for k, level in enumerate(levels):
        row = [f"{level:.0e}", micro(ours[k], methods[k])]
        for peer, (seconds, names) in theirs.items():
            row += [micro(seconds[k], names[k]), ratio(found[peer][k])]
        line(row)
    return found


def own_methods(times: Times, levels: Sequence[float]) -> None:
    """Print Stepsmith's methods, each by itself; one that is dashed was too slow to be timed again."""
    print()
    head(["Stepsmith's method", *(f"{level:.0e}" for level in levels)])
    for (library, method), row in times.items():
        if library == "Stepsmith":
            line([f"`{method}`", *(micro(seconds) for seconds in row)])


def summary(peer: str, rows: dict[str, np.ndarray], levels: Sequence[float]) -> None:
    """Print the ratios to one peer over all problems, the geometric mean of each row and column, and who leads how
    often.
    """
    print(f"\n### Stepsmith's time over that of {peer}\n")
    head(["problem", *(f"{level:.0e}" for level in levels), "geometric mean"])
    table = np.array(list(rows.values()))
    for title, row in rows.items():
        line([title, *map(ratio, row), ratio(mean(row))])
    line(["geometric mean", *(ratio(mean(column)) for column in table.T), ratio(mean(table))])
    both = measured(table)
    print(
        f"\nBoth reach {both.size} of {table.size} errors, and Stepsmith is faster at {np.sum(both < 1.0)} of them; "
        f"Stepsmith alone reaches {np.sum(table == 0.0)}, {peer} alone {np.sum(np.isinf(table))}."
    )


def measured(values: np.ndarray) -> np.ndarray:
    """The ratios at errors that both reach."""
    return values[np.isfinite(values) & (values > 0.0)]


def mean(values: np.ndarray) -> float:
    """Geometric mean of the ratios at errors that both reach."""
    both = measured(values)
    return float(np.exp(np.log(both).mean())) if both.size else float("nan")
