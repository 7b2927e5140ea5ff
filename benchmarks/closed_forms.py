"""Closed-form controllers by the clock: every family against the law that is fastest there, in lanes and in single
solves.

    python benchmarks/closed_forms.py [FAMILY[:METHOD]=FILE[,FILE...] ...] [--n 200] [--repeats 5] [--out FILE]

Several files of one family are training seeds.  Without an argument the closed forms of the zoo stand in the table.
Every row is `stepsmith compare FAMILY` (`docs/comparison.md`): work at equal error on the test split, the time of
ensembles on one thread and of single solves, each against a law of its own, chosen on the validation split from all
published laws and the tuned one.  A family without a tuned law is tuned first; `stepsmith tune FAMILY --budget-of FILE`
gives it the budget of the controller's training.  Prints Markdown; `--out` writes the comparisons' JSON objects.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from figures.save import parsed

from stepsmith.controllers import resolve
from stepsmith.controllers.zoo import names as zoo_names
from stepsmith.integrators import methods, problems
from stepsmith.integrators.problems.suites import is_suite
from stepsmith.policies import closed_form
from stepsmith.train.evaluate.compare import compare

HEAD = (
    "| family, method | base law | numbers | work, against | lanes, against | single solves, against "
    "| faster by both clocks | training seeds, work |\n|---|---|---|---|---|---|---|---|"
)


def shipped() -> list[tuple[str, str, list[Any]]]:
    """(family, method, [controller]) of every closed form of the zoo that was trained on one family."""
    found = [resolve.controller(name) for name in zoo_names()]
    return [(c.family, c.trained_method, [c]) for c in found if closed_form.is_linear(c) and not is_suite(c.family)]


def given(text: str) -> tuple[str, str, list[Any]]:
    """(family, method, controllers) of an argument."""
    where, _, files = text.partition("=")
    family, _, method = where.partition(":")
    controllers = [resolve.controller(file) for file in files.split(",")]
    named = method or controllers[0].trained_method or problems.family(family).method
    return family, methods.named(named), controllers


def figure(f: dict[str, Any]) -> str:
    """A ratio with its interval."""
    if f["ratio"] is None:
        return "-"
    ends = "" if f["low"] is None else f" [{f['low']:.3f}, {f['high']:.3f}]"
    return f"{f['ratio']:.3f}{ends}"


def row(family: str, method: str, found: dict[str, Any], controllers: list[Any]) -> str:
    """One line of the table."""
    head = found["headline"]
    mine = next(r for r in found["rows"] if r["name"] == head["controller"])
    seeds = mine.get("seeds")
    across = "one" if seeds is None else f"{seeds['low']:.3f} to {seeds['high']:.3f} ({seeds['n']:.0f})"
    ends = [(head[clock]["low"], head[clock]["high"]) for clock in ("wall", "single")]
    known = all(low is not None for low, _ in ends)
    faster = "yes" if known and all(high < 1.0 for _, high in ends) else "no"
    cells = [
        f"{family}, {method}", ", ".join(dict.fromkeys(c.decision.law.name.split(" with ")[0] for c in controllers)),
        str(max(closed_form.numbers(c) for c in controllers)),
        f"{figure(head['work'])} {head['against']}", f"{figure(head['wall'])} {head['against_wall']}",
        f"{figure(head['single'])} {head['against_single']}", faster, across,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("families", nargs="*", help="FAMILY[:METHOD]=FILE[,FILE...]")
    parser.add_argument("--n", type=int, default=200, help="test instances")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of timing")
    parser.add_argument("--seed", type=int, default=0, help="what draws the test instances")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    asked = parsed(parser)
    rows, objects = [], []
    for family, method, controllers in [given(text) for text in asked.families] or shipped():
        report = compare(
            family, method, {"closed form": controllers if len(controllers) > 1 else controllers[0]}, asked.seed,
            asked.n, repeats=asked.repeats,
        )  # fmt: skip
        objects.append(report.to_json())
        rows.append(row(family, method, objects[-1], controllers))
        print(rows[-1], flush=True)
        if asked.out is not None:  # after every family, so that an interruption loses none
            asked.out.write_text(json.dumps(objects, indent=1, allow_nan=False))
    print("\n".join(["", HEAD, *rows]))


if __name__ == "__main__":
    main()
