"""Environment steps a second: 1,024 lanes through the Stable-Baselines3 adapter, observation and reward included, on
one core.

    python benchmarks/env_throughput.py [--lanes 1024] [--seconds 3] [--json]

A step of ODE-v0 is one attempted step of the integrator; of ThreeBodyPaper-v0 one decision, whose Hermite steps are
counted beside it. Figures are CPU seconds of this process; the best of several passes, since other programs only ever
make a pass slower.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from figures.save import parsed

from stepsmith.controllers.learned.observation import NBODY, TIER0

LORENZ = {"family": "lorenz", "method": "dopri5"}
HERMITE = {"family": "three_body", "method": "hermite4_pec", "law": "amuse", "n_act": 1, "rtol": (1e-4, 1e-8)}
#: what a law on the criterion's time scale lacks: no error is estimated
NBODY_FEATURES = (*NBODY, "log_ratio_1", "log_ratio_2", "log_left", "log_curv")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Lorenz, dopri5, 14 features": ("stepsmith/ODE-v0", LORENZ),
    "Lorenz, dopri5, tier 0": ("stepsmith/ODE-v0", {**LORENZ, "features": TIER0}),
    "three bodies, hermite4_pec, N-body features": ("stepsmith/ODE-v0", {**HERMITE, "features": NBODY_FEATURES}),
    "three bodies, hermite4_pec, 14 features": ("stepsmith/ODE-v0", HERMITE),
    "three bodies, tsit5, 14 features": ("stepsmith/ThreeBody-v0", {"method": "tsit5"}),
    "three-body paper, mu = 1e-2": ("stepsmith/ThreeBodyPaper-v0", {}),
}


def passes(step: Any, per_pass: int, seconds: float) -> float:
    """CPU seconds of the fastest of the passes of `per_pass` steps that fit into `seconds`."""
    best, start = np.inf, time.perf_counter()
    while time.perf_counter() - start < seconds or best == np.inf:
        t = time.process_time()
        for _ in range(per_pass):
            step()
        best = min(best, time.process_time() - t)
    return float(best / per_pass)


def actions(venv: Any, rng: np.random.Generator, count: int = 16) -> list[np.ndarray]:
    """A stock of small random actions (paper: mu = 1e-2)."""
    if not hasattr(venv.action_space, "low"):
        return [np.full(venv.num_envs, 3)]
    shape = (venv.num_envs, *venv.action_space.shape)
    return [rng.uniform(-0.2, 0.2, shape).astype(np.float32) for _ in range(count)]


def measure(env_id: str, kwargs: dict[str, Any], lanes: int, seconds: float) -> dict[str, float]:
    """Steps (and integrator steps) a second through the adapter, and of its parts."""
    from stepsmith.envs import make_sb3

    venv = make_sb3(env_id, lanes, seed=0, **kwargs)
    venv.reset()
    stock = actions(venv, np.random.default_rng(0))
    turn = iter(range(1 << 62))
    venv.step(stock[0])
    work = "NSTEPS" in venv.core.kernel.layout.rows
    before, calls = 0.0, 0
    if work:  # integrator steps a decision, over one episode of every lane
        total = 0.0
        venv.reset()
        for _ in range(100):
            infos = venv.step(stock[0])[3]
            total += sum(info["episode"]["nsteps"] for info in infos if info)
            calls += 1
        before = total / (calls * lanes)
    per = max(1, 20480 // lanes)
    adapter = passes(lambda: venv.step(stock[next(turn) % len(stock)]), per, seconds)
    core = passes(lambda: venv.core.step(stock[next(turn) % len(stock)]), per, seconds / 2)
    out = {"steps_per_s": lanes / adapter, "core_steps_per_s": lanes / core, "ns_per_step": adapter / lanes * 1e9}
    if work:
        out["integrator_steps_per_s"] = before * lanes / adapter
    return out


def one_lane(seconds: float) -> float:
    """Steps a second of a single Lorenz environment under SB3's DummyVecEnv."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from stepsmith.envs.ode import ODEEnv

    venv = DummyVecEnv([lambda: ODEEnv(**LORENZ)])
    venv.seed(0)
    venv.reset()
    act = np.zeros((1, 2), np.float32)
    return 1.0 / passes(lambda: venv.step(act), 500, seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=3.0, help="time a measurement")
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    rows: dict[str, Any] = {}
    for name, (env_id, kwargs) in CASES.items():
        rows[name] = measure(env_id, kwargs, args.lanes, args.seconds)
    single = one_lane(args.seconds)
    first = next(iter(rows.values()))
    if args.json:
        print(
            json.dumps(
                {
                    "lanes": args.lanes,
                    "rows": rows,
                    "one_lane_dummy_vec_env": single,
                    "ratio": first["steps_per_s"] / single,
                }
            )
        )
        return
    print(f"{args.lanes} lanes, one core, million steps a second:\n")
    print("| environment | adapter | core | ns a step |\n|---|---|---|---|")
    for name, row in rows.items():
        steps = row.get("integrator_steps_per_s")
        inner = "" if steps is None else f" ({steps / 1e6:.1f} M Hermite steps)"
        rates = f"{row['steps_per_s'] / 1e6:.2f} | {row['core_steps_per_s'] / 1e6:.2f} | {row['ns_per_step']:.0f}"
        print(f"| {name}{inner} | {rates} |")
    print()
    print(
        f"one lane under DummyVecEnv: {single / 1e3:.1f} thousand steps a second, {first['steps_per_s'] / single:.0f} "
        "times fewer"
    )


if __name__ == "__main__":
    main()
