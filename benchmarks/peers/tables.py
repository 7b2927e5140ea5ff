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
    return "-" if np.isnan(value) else f"{value:.2f}"


def beside(times: Times, levels: Sequence[float], peers: Sequence[str]) -> dict[str, np.ndarray]:
    """Print a row a level, ours and every peer with the ratio; returns the ratios of every peer."""
    ours, methods = best(times, "Stepsmith")
    cells, found = ["error", "Stepsmith"], {}
    for peer in peers:
        cells += [peer, f"Stepsmith / {peer}"]
    head(cells)
    theirs = {peer: best(times, peer) for peer in peers}
    for k, level in enumerate(levels):
        row = [f"{level:.0e}", micro(ours[k], methods[k])]
        for peer in peers:
            seconds, names = theirs[peer]
            row += [micro(seconds[k], names[k]), ratio(ours[k] / seconds[k])] if names else ["not installed", "-"]
        line(row)
    for peer in peers:
        seconds, names = theirs[peer]
        found[peer] = ours / seconds if names else np.full(len(levels), np.nan)
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
    there = table[np.isfinite(table)]
    print(f"\nStepsmith is faster in {np.sum(there < 1.0)} of {there.size} cells that both reach.")


def mean(values: np.ndarray) -> float:
    """Geometric mean of what is a number."""
    there = values[np.isfinite(values)]
    return float(np.exp(np.log(there).mean())) if there.size else float("nan")
