"""Learned controllers in the three-body paper's set-up (arXiv:2502.12809), at equal energy error.

    python benchmarks/paper_controllers.py [--json] [--seeds 100] [--folder runs/paper] [--generations 80]

Set-up: three solar masses, seeds 0 to 99, 300 calls of 0.1 yr, Hermite PEC; work is force evaluations, steps + 2 a call
(`stepsmith/train/paper.py`).  Error: the largest |E/E0 - 1| at the ends of the calls.

Criteria: AMUSE's, Aarseth's and that of Pham, Rein & Spiegel ("ias15"), each at the family's 16 accuracy parameters c
(mu = c; for the other two, whose time scales are shorter, 3 c: about the same span of work).  `amuse+net`: a residual
on AMUSE's criterion, five scale-free features and eight hidden units, at the same mu; trained here by the evolution
strategy on draws of the family's training split (none of the paper's seeds), three training seeds, kept in the folder.
`amuse+linear`: the same without a hidden layer, one seed and half the generations: AMUSE's criterion times powers of
other scales, what a tuned classical criterion could be.

Ratios by the project's metric (`stepsmith/train/curves.py`): mean over instances and error levels of the log of work at
equal error, 95 % BCa interval over instances; "one mu": one accuracy parameter for all instances, matched at the
geometric-mean or the 90th-percentile error.  Seconds: kernel time of the batch of all instances on one thread,
controllers in turn, the least of `--repeats` rounds.

DQN: the policies of `stepsmith train three_body_paper_dqn --seed S --out FOLDER/dqn-sS`, S = 0, 1, 2.  A policy has no
knob, hence one run an instance; it is set against the AMUSE curve at the error that the run reached, and once more at
the family's error.  The first favours the curve, whose envelope picks the luckiest of 16 runs.  Constant parameters of
the environment stand beside them (they are on the curve's own grid, hence their ratios of one).  The return is that of
the paper's reward over 300 decisions, every run to its end. Policies that are not there are left out, and the page says
so.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from figures.save import parsed

from stepsmith.controllers import file
from stepsmith.controllers.laws import registry
from stepsmith.envs.three_body_paper import MUS, make_core
from stepsmith.integrators.problems.nbody.three_body_paper import FAMILY, instances
from stepsmith.train.algorithms.evolution import Settings
from stepsmith.train.evaluate import curves, paper
from stepsmith.train.evaluate.headline import choose_denominator
from stepsmith.train.evaluate.metric import Figure, Runs, across_seeds, work_ratio
from stepsmith.train.run.provenance import provenance

GRID = np.array(FAMILY.etas)
LEVELS = FAMILY.error_levels
CRITERIA = {
    "amuse": lambda c: registry.get("amuse", mu=c),
    "aarseth": lambda c: registry.get("aarseth", eta=(3.0 * c) ** 2),
    "ias15": lambda c: registry.get("ias15", epsilon=(3.0 * c) ** 7 / 5040.0),
}
TRAINING_SEEDS = (0, 1, 2)
#: the environment's actions that stand beside the policies
CONSTANT = (2, 3, 4)
#: hidden layers, training seeds, part of the generations
LEARNED: dict[str, tuple[tuple[int, ...], tuple[int, ...], float]] = {
    "amuse+net": ((8,), TRAINING_SEEDS, 1.0),
    "amuse+linear": ((), (0,), 0.5),
}


def trained(folder: Path, name: str, seed: int, generations: int) -> Any:
    """The residual controller of a training seed, from the folder or trained into it."""
    path = folder / f"{name}-s{seed}.safetensors"
    if not path.exists():
        hidden, _, part = LEARNED[name]
        settings = Settings(
            generations=max(1, int(part * generations)),
            population=14,
            sigma=0.15,
            instances=64,
            redraw=5,
            dearest=80_000,
            max_steps=60_000,
        )
        folder.mkdir(parents=True, exist_ok=True)
        file.save(paper.train_residual(seed, settings, hidden).replace(name=name), path)
    return file.load(path)


def measure(entries: dict[str, Any], batch: Any, repeats: int) -> dict[str, tuple[Runs, Any]]:
    """name -> (what the metric reads, outcome) of makers of controllers, timed in turn."""
    rounds = [{name: [] for name in entries} for _ in range(repeats)]
    for now in rounds:
        for c in GRID:
            for name, make in entries.items():
                now[name].append(paper.calls(batch, make(float(c))))
    out = {}
    for name in entries:
        o = paper.joined(rounds[0][name])
        seconds = np.min([[r.seconds for r in now[name]] for now in rounds], axis=0)
        kind = "classical" if name in CRITERIA else "learned"
        out[name] = Runs(name, o.largest, {"nfev": o.nfev, "wall": seconds}, GRID, kind=kind), o
    return out


def line(runs: Runs, bases: dict[str, Runs]) -> dict[str, Any]:
    """Ratios of one row to the curves of several."""
    row: dict[str, Any] = {"name": runs.name, "failures": runs.failures, "runs": runs.err.size}
    for name, base in bases.items():
        row[name] = {m: work_ratio(runs, base, LEVELS, m).to_json() for m in ("nfev", "wall")}
    return row


def policy(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """A DQN's greedy actions, and the counter of the environment whose observations it reads."""
    from stable_baselines3 import DQN

    model = DQN.load(path, device="cpu")
    counter = "observed" if model.observation_space.shape == (14,) else "hidden"
    return lambda obs: model.predict(obs, deterministic=True)[0], counter


def point(choose: Callable[[np.ndarray], np.ndarray], counter: str, seeds: int, base: Any) -> dict[str, Any]:
    """A policy on the paper's seeds, every run to its end, against the curve `base` (an `Outcome` over the grid)."""
    core = make_core(
        seeds, True, steps=paper.CALLS, seeds=range(seeds), in_turn=True, energy_limit=math.inf, counter=counter
    )
    taken: list[np.ndarray] = []

    def act(obs: np.ndarray) -> np.ndarray:
        taken.append(choose(obs))
        return taken[-1]

    r = paper.play(core, act)
    err, work = np.where(r["status"] == 0, r["largest"], np.inf), r["nfev"]
    ratio = paper.at_points(err, work, base.largest, base.nfev)
    ends = curves.bca_interval(lambda i: ratio[i].mean(axis=1), seeds, seed=0, resamples=10_000)
    out = {"return": float(r["return"].mean()), "largest": float(np.median(err)), "last": float(np.median(r["error"])),
           "q90": float(np.quantile(err, 0.9, method="higher")), "steps": float(np.median(r["nsteps"])),
           "nfev": float(np.median(work)),
           "mu": float(np.exp(np.log(MUS)[np.array(taken)].mean())), "failures": int(np.isinf(err).sum()),
           "ratio": Figure(*np.exp([ratio.mean(), *ends])).to_json()}  # fmt: skip
    for statistic in ("gmean", "q90"):

        def at(index: np.ndarray, statistic: str = statistic) -> np.ndarray:
            return np.array([paper.at_family(err[i], work[i], base.largest[i], base.nfev[i], statistic) for i in index])

        middle = float(at(np.arange(seeds)[None])[0])
        ends = curves.bca_interval(at, seeds, seed=0, resamples=1_000)
        out[f"{statistic}_matched"] = Figure(*np.exp([middle, *ends])).to_json()
    return out


def show(f: dict[str, Any]) -> str:
    """A figure with its interval."""
    if f["ratio"] is None:
        return "not defined"
    return f"{f['ratio']:.3f} [" + ", ".join("inf" if f[k] is None else f"{f[k]:.3f}" for k in ("low", "high")) + "]"


def table(data: dict[str, Any]) -> str:
    """The Markdown tables."""
    lines = [
        "| controller | against AMUSE | against Aarseth | one mu, geometric mean | one mu, 90th percentile | seconds | "
        "training seeds | "
        "dearer on | worst 1 % | failed runs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in data["rows"]:
        a, b = r["amuse"]["nfev"], r["aarseth"]["nfev"]
        seeds = f"{r['seeds']['low']:.3f} to {r['seeds']['high']:.3f}" if "seeds" in r else ""
        cells = (
            r["name"],
            show(a),
            show(b),
            show(a["matched"]["gmean"]),
            show(a["matched"]["q90"]),
            show(r["amuse"]["wall"]),
            seeds,
            f"{100 * a['share_lost']:.0f} %",
            f"{a['worst_1pct']:.2f}",
            f"{r['failures']}/{r['runs']}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Best criterion on the validation split: " + data["best_criterion"] + " ("
              + ", ".join(f"{k} {v:.3f}" for k, v in data["validation"].items()) + ").", ""]  # fmt: skip
    lines += [
        "| policy | return | mean mu | median largest abs dE | its 90 % quantile | median last abs dE | median steps | "
        "work at the "
        "error reached | at the geometric mean | at the 90th percentile |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, d in data["policies"].items():
        cells = (
            name,
            f"{d['return']:.0f}",
            f"{d['mu']:.2g}",
            f"{d['largest']:.2g}",
            f"{d['q90']:.2g}",
            f"{d['last']:.2g}",
            f"{d['steps']:.0f}",
            show(d["ratio"]),
            show(d["gmean_matched"]),
            show(d["q90_matched"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"Seeds 0 to {data['seeds'] - 1}, {paper.CALLS} calls; commit {data['commit']}."]
    return "\n".join([*lines, *data["notes"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--seeds", type=int, default=100, help="the paper's seeds 0, 1, ... (default 100)")
    parser.add_argument("--folder", type=Path, default=Path("runs/paper"), help="of trained controllers and policies")
    parser.add_argument("--generations", type=int, default=80, help="of the evolution strategy (default 80)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of timing (default 3)")
    options = parsed(parser)
    if options.seeds < 2 or options.repeats < 1 or options.generations < 1:
        parser.error("--seeds must be at least 2, --repeats and --generations at least 1")
    batch = instances(range(options.seeds))
    several = {
        n: [trained(options.folder, n, s, options.generations) for s in seeds] for n, (_, seeds, _) in LEARNED.items()
    }
    valid = [r for r, _ in measure(CRITERIA, FAMILY.split("validation", 100, 0), 1).values()]
    best, ratios = choose_denominator(valid, LEVELS)
    measured = measure(CRITERIA, batch, options.repeats)
    bases = {name: measured[name][0] for name in ("amuse", "aarseth")}
    rows = [line(r, bases) for r, _ in measured.values()]
    for name, members in several.items():
        makers = {str(s): lambda c, m=m: paper.with_mu(m, c) for s, m in zip(LEARNED[name][1], members, strict=True)}
        each = {
            int(s): work_ratio(r, bases["amuse"], LEVELS, intervals=False)
            for s, (r, _) in measure(makers, batch, 1).items()
        }
        median, spread = across_seeds({s: w.figure.ratio for s, w in each.items() if w is not None})
        # timed in turn with the criterion it is compared with
        pair = measure({"amuse": CRITERIA["amuse"], name: makers[str(median)]}, batch, options.repeats)
        bases_now = {**bases, "amuse": pair["amuse"][0]}
        rows.append({**line(pair[name][0], bases_now), "seeds": spread, "training_seed": median})
    notes: list[str] = []
    policies = {
        f"constant mu {MUS[k]:.2g}": point(
            lambda obs, k=k: np.full(len(obs), k), "hidden", options.seeds, measured["amuse"][1]
        )
        for k in CONSTANT
    }
    for s in TRAINING_SEEDS:
        path = options.folder / f"dqn-s{s}" / "policy.zip"
        if path.exists():
            policies[f"DQN, seed {s}"] = point(*policy(path), options.seeds, measured["amuse"][1])
        else:
            notes.append(
                f"No policy of DQN seed {s}: stepsmith train three_body_paper_dqn --seed {s} --out {path.parent}"
            )
    data = {
        "seeds": options.seeds,
        "rows": rows,
        "policies": policies,
        "best_criterion": best,
        "validation": ratios,
        "notes": notes,
        **provenance(),
    }
    print(json.dumps(data, indent=1, allow_nan=False) if options.json else table(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
