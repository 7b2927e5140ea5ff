"""Learned samplers of few evaluations against AB2 on even steps, on models of `python -m stepsmith.train.flows`.

    python benchmarks/learned_schedules.py MODEL [MODEL ...] --kinds bns --steps 8      one row of the table a kind
    python benchmarks/learned_schedules.py MODEL --kinds bns --transfer OTHER:3         on other models, untrained

MODEL and OTHER are run folders; OTHER:3 is a conditional model asked for class 3.  Errors are RMS distances to the
fine solver's samples (60 steps of the classical method of order 4) in per cent of their RMS, on noise that no learner
draws; mean over the seeds of the training, and the least and the largest where there are several.  Every result is
also a line of JSON in --out, from which a later call goes on: what stands there is not learned again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.flows.learners.task import base_times, fine, percent
from stepsmith.train.flows import load
from stepsmith.train.flows.data import data

#: name of a row -> kind and options
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "grid": ("grid", {}),
    "dp": ("dp", {}),
    "dp, AB2's cost": ("dp", {"cost": "own"}),
    "dp, Euler": ("dp", {"solver": "euler"}),
    "ays": ("ays", {}),
    "ays, Euler": ("ays", {"solver": "euler"}),
    "evolution": ("evolution", {}),
    "bespoke": ("bespoke", {}),
    "bns": ("bns", {}),
    "solver_search": ("solver_search", {}),
    "usf": ("usf", {}),
    "hypersolver": ("hypersolver", {}),
    "policy": ("policy", {}),
    "policy, batches of 32": ("policy", {"samples": 32, "lanes": 32}),
}
#: of the noise that is tested on
TEST_SEED = 2**45
TESTED = 1024
#: most evaluations of AB2 that learned samplers are compared with
MOST_PLAIN = 32


class Tested:
    """A model with the fine solver's samples of the test noise."""

    def __init__(self, where: str) -> None:
        path, _, label = where.partition(":")
        self.name = Path(path).name + (f" class {label}" if label else "")
        self.model = load(path, **({"labels": int(label)} if label else {}))
        self.shape = (data(json.loads((Path(path) / "config.json").read_text())["task"]).size,)
        draws = torch.Generator().manual_seed(TEST_SEED)
        self.noise = torch.randn((TESTED, *self.shape), generator=draws)
        times = base_times(self.model, 60)
        x = self.model.process.s(times[0]).float() * self.noise
        self.wanted = fine(self.model.velocity, x, times, self.model)[0][-1]

    def plain(self, steps: int) -> float:
        """The error of AB2 on the base grid."""
        grid = base_times(self.model, steps)
        return percent(ss.flows.sample(self.model, self.noise, "ab2", grid=grid, denoise=False).y, self.wanted)

    def error(self, schedule: ss.flows.Schedule) -> float:
        """The error of a schedule."""
        return percent(ss.flows.sample(self.model, self.noise, schedule=schedule).y, self.wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="run folders of stepsmith.train.flows")
    parser.add_argument("--kinds", nargs="+", default=["grid", "bespoke", "bns"], choices=list(ROWS))
    parser.add_argument("--steps", nargs="+", type=int, default=[6, 8, 10, 16])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--transfer", nargs="*", default=[], metavar="OTHER", help="models to try the schedules on")
    parser.add_argument("--out", default="runs/learned_schedules.jsonl")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    given = parsed(parser)
    torch.set_num_threads(1)
    out = Path(given.out)
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    found = [row for where in given.models for row in measured(where, given, out, known)]
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for where in given.models:
        print(table(Path(where).name, [row for row in found if row["model"] == Path(where).name], given.steps))
    if given.transfer:
        print(transferred(found))


def measured(where: str, given: argparse.Namespace, out: Path, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of one model, learned where they are not known."""
    one, others, rows = Tested(where), [Tested(other) for other in given.transfer], list[dict[str, Any]]()
    plain = {n: one.plain(n) for n in sorted({*given.steps, *range(2, MOST_PLAIN + 1)})}
    for steps in given.steps:
        rows.append({"model": one.name, "kind": "AB2", "steps": steps, "error": plain[steps]})
        for kind in given.kinds:
            for seed in given.seeds:
                same = {"model": one.name, "kind": kind, "steps": steps, "seed": seed}
                there = [r for r in known if all(r.get(k) == v for k, v in same.items())]
                there = [r for r in there if all(o.name in r["transfer"] for o in others)]
                row = there[-1] if there else learned(one, others, same)
                if row is None:
                    continue
                if not there:
                    out.parent.mkdir(parents=True, exist_ok=True)
                    with out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                rows.append({**row, "equal": next((n for n, e in plain.items() if e <= row["error"]), None)})
    return rows


def learned(one: Tested, others: list[Tested], same: dict[str, Any]) -> dict[str, Any] | None:
    """One result; None where the kind cannot have so many evaluations."""
    kind, options = ROWS[same["kind"]]
    if kind == "bespoke" and same["steps"] % 2:
        return None
    schedule = ss.flows.learn(
        one.model, kind=kind, steps=same["steps"], seed=same["seed"], shape=one.shape, **options
    )
    error = one.error(schedule)
    print(f"{same['model']} {same['kind']} {same['steps']} seed {same['seed']}: {error:.3f} %", file=sys.stderr)
    facts = schedule.provenance
    return {
        **same, "error": error, "validation": schedule.measured.get("error_percent"), "seconds": facts["seconds"],
        "evaluations": facts["evaluations"],
        "transfer": {
            o.name: [o.error(schedule) if o.shape == one.shape else None, o.plain(same["steps"])] for o in others
        },
    }  # fmt: skip


def table(name: str, rows: list[dict[str, Any]], steps: list[int]) -> str:
    """Markdown: errors by kind and evaluations, their share of AB2's at 8, with how many evaluations AB2 is as good as
    they are with 8, and what the training cost."""
    heads = ["sampler", *(f"{n} evaluations" for n in steps), "of AB2 at 8", "AB2 as good", "training"]
    lines = [f"\n{name}\n", f"| {' | '.join(heads)} |", "|---|" + "---|" * (len(heads) - 1)]
    plain = {row["steps"]: row["error"] for row in rows if row["kind"] == "AB2"}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        cells = []
        for n in steps:
            errors = [row["error"] for row in own if row["steps"] == n]
            mean = sum(errors) / len(errors) if errors else float("nan")
            spread = f" ({min(errors):.2f}-{max(errors):.2f})" if len(errors) > 1 else ""
            cells.append(f"{mean:.2f}{spread}" if errors else "")
        share = [row["error"] / plain[8] for row in own if row["steps"] == 8]
        share_text = f"{sum(share) / len(share):.2f}" if share else ""
        equal = [row["equal"] or MOST_PLAIN + 1 for row in own if row["steps"] == 8 and "equal" in row]
        as_good = f"{sum(equal) / len(equal):.3g}" if equal else ""
        cost = [row for row in own if "seconds" in row]
        seconds = f"{sum(r['seconds'] for r in cost) / len(cost):.0f} s" if cost else ""
        million = f", {sum(r['evaluations'] for r in cost) / len(cost) / 1e6:.2f} M" if cost else ""
        lines.append(f"| {kind} | " + " | ".join(cells) + f" | {share_text} | {as_good} | {seconds}{million} |")
    lines.append(f"\ntraining: mean seconds, {os.cpu_count()} cores of which one is used, and evaluations of the model")
    return "\n".join(lines)


def transferred(rows: list[dict[str, Any]]) -> str:
    """Markdown: errors on the other models, and AB2's there."""
    lines = ["\n| trained on | sampler | evaluations | tried on | error | AB2 there |", "|---|---|---|---|---|---|"]
    for row in rows:
        for name, (error, plain) in row.get("transfer", {}).items():
            if error is not None:
                lines.append(
                    f"| {row['model']} | {row['kind']}, seed {row['seed']} | {row['steps']} | {name} | {error:.2f} | "
                    f"{plain:.2f} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
