"""Does a discount by time train better controllers?  PPO against TimeAwarePPO with the same budget: a table.

    python benchmarks/time_aware.py [--families lorenz,three_body,lotka_volterra] [--seeds 3] [--steps 1_000_000]
                                    [--out FOLDER] [--save time_aware]

Both train on the same environments with the same settings.  PPO discounts by gamma = .998 and lambda = .98 a decision;
TimeAwarePPO by beta = -N log gamma and kappa = -N log lambda a span, where N is the mean number of decisions of an
episode under the law, so that both discount alike where decisions are alike.  Each run keeps the policy that is best
on the validation split, and `stepsmith compare` measures it on the test split: f-evaluations at matched error over the
best law's, the median of the seeds and their range.  A run that has ended is not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers import resolve
from stepsmith.envs.ode import make_core
from stepsmith.train.config import config as configs
from stepsmith.train.run import run as runs

GAMMA, LAMBDA = 0.998, 0.98
FEATURES = ["log_err", "log_err_1", "log_ratio_1", "log_left", "log_hs", "log_curv", "log_enorm", "log_tol", "streak"]
TRAIN = {
    "num_envs": 256, "n_steps": 128, "batch_size": 4096, "n_epochs": 5, "learning_rate": 3e-3,
    "final_learning_rate": 1e-4, "log_std_init": -2.0,
}  # fmt: skip
FAMILIES = "lorenz,three_body,lotka_volterra"


def environment(family: str) -> dict[str, Any]:
    """[env] of a family's config."""
    found = ss.problems.family(family)
    try:
        resolve.base_law("tuned", family, found.method)
        law = "tuned"
    except ValueError:  # none has been tuned
        law = "pi34"
    return {"family": family, "method": found.method, "law": law, "baseline": law, "band": True,
            "reward": "propagated" if found.error == "final" else "matched", "features": FEATURES,
            "pool_size": 512}  # fmt: skip


def decisions(env: dict[str, Any]) -> float:
    """Mean number of decisions of an episode under the law."""
    core = make_core(256, True, **{**env, "features": tuple(env["features"])})
    core.seed(np.arange(256, dtype=np.uint64))
    core.reset()
    lengths: list[float] = []
    while len(lengths) < 512:
        ended = core.step(np.zeros((256, core.n_act), np.float32))
        lengths += [core.episode(i)["length"] for i in core.ended[:ended].tolist()]
    return float(np.mean(lengths))


def trained(
    env: dict[str, Any], algorithm: str, seed: int, steps: int, per_span: float, out: Path
) -> tuple[Path, float]:
    """The controller of a run, and the seconds that it took."""
    folder = out / f"{env['family']}-{algorithm}-s{seed}"
    timed = {"beta": -per_span * math.log(GAMMA), "kappa": -per_span * math.log(LAMBDA)}
    own = timed if algorithm == "time_aware_ppo" else {"gamma": GAMMA, "gae_lambda": LAMBDA}
    config = configs.from_dict({
        "name": folder.name, "algorithm": algorithm, "seed": seed, "env": env,
        "policy": {"hidden": [12], "activation": "relu"}, "train": {**TRAIN, "total_steps": steps, **own},
        "evaluate": {"every": max(steps // 8, 1), "instances": 50, "against": env["law"]},
    })  # fmt: skip
    clock = folder / "seconds.json"
    if not clock.exists():
        began = time.monotonic()
        runs.train(config, out=folder, resume=(folder / "config.json").exists(), progress=False)
        clock.write_text(json.dumps(time.monotonic() - began))
    return folder / "controller.safetensors", float(json.loads(clock.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--n", type=int, default=100, help="instances of the test split")
    parser.add_argument("--out", type=Path, default=Path("runs/time_aware"))
    args = parsed(parser)
    rows = []
    for family in args.families.split(","):
        env = environment(family)
        per_span = decisions(env)
        found: dict[str, list[str]] = {}
        seconds: dict[str, list[float]] = {}
        for algorithm in ("ppo", "time_aware_ppo"):
            for seed in range(args.seeds):
                path, took = trained(env, algorithm, seed, args.steps, per_span, args.out)
                found.setdefault(algorithm, []).append(str(path))
                seconds.setdefault(algorithm, []).append(took)
                print(path, f"{took:.0f} s", file=sys.stderr, flush=True)
        report = ss.compare(family, env["method"], found, n=args.n, wall=False, single=False, progress=False)
        for algorithm, took in seconds.items():
            (row,) = (r for r in report.rows if r.name == algorithm)
            measured = row.work["nfev"]
            assert measured is not None and row.seeds is not None
            figure, each = measured.figure, row.seeds
            rows.append(
                f"| {family} | {per_span:.0f} | {algorithm} | {figure.ratio:.3f} [{figure.low:.3f}, {figure.high:.3f}] "
                f"| {each['low']:.3f} to {each['high']:.3f} | {report.headline['against']} "
                f"| {sum(took) / len(took):.0f} s |"
            )
    print("| family | decisions a span | algorithm | f-evaluations, median seed | seeds | over | a run |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
