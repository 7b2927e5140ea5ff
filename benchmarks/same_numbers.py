"""Digests of many results, to show that a change of the code's structure changes none of them by a bit.

    python benchmarks/same_numbers.py --save before.json       with the code before
    python benchmarks/same_numbers.py --against before.json    with the code after; exits 1 where any result differs

Solves: every method with laws of several kinds and the zoo's controllers, on families that suit them, single and in
lanes.  Rollouts: the registered environments, with every reward, under fixed random actions.  Torch: solves with every
adjoint, their gradients and heuristics. A digest is the SHA-256 of the bytes of all arrays of a result: time, states,
status, counts.  Digests agree between runs on one machine with one set of versions; between machines they need not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import stepsmith as ss
from stepsmith.integrators import methods

LAWS = ("i", "pi34", "dopri5_pi", "h211b", "sundials_pid", "predictive", "julia_pi")
EXPLICIT = ("lorenz", "lotka_volterra", "kepler")
STIFF = ("vdpol_stiff", "rober", "hires")
ZOO = {
    "three-body": ("three_body", "tsit5"), "neural-field": ("neural_field", "tsit5"),
    "stiff": ("vdpol_stiff", "esdirk43"),
    "steppo": ("steppo_vdpol", "kvaerno5"),
}  # fmt: skip
STEPS = 60


def digest(*parts: Any) -> str:
    """SHA-256 of arrays, tensors and numbers, by their bytes."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().numpy()
        array = np.ascontiguousarray(part)
        h.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return h.hexdigest()[:32]


def counts(stats: Any) -> list[Any]:
    """A solve's counts, without its time."""
    names = getattr(stats, "__slots__", None) or list(vars(stats))
    return [np.asarray(getattr(stats, name)) for name in names if name != "wall_s"]


def solves() -> Iterator[tuple[str, str]]:
    """Single solves and ensembles."""
    cases: list[tuple[str, str, str]] = []
    for method in methods.names():
        found = methods.get(method)
        if found.implicit:
            laws, families = ("predictive", "pi34", "h211b"), STIFF
        elif method in ("hermite4", "hermite4_pec", "leapfrog", "composition8"):
            laws, families = (
                (("amuse", "aarseth") if method.startswith("hermite4") else ("constant",)),
                ("kepler", "three_body"),
            )
        else:
            laws, families = LAWS, EXPLICIT if found.uses == "rhs" else ("kepler", "henon_heiles")
        cases += [(method, law, family) for law in laws for family in families]
    cases += [(method, name, family) for name, (family, method) in ZOO.items()]
    for method, law, family in cases:
        problem = ss.problems.make(family, seed=1)
        controller = ss.controllers.laws.registry.constant(0.01) if law == "constant" else law
        for rtol in (1e-4, 1e-7):
            label = f"solve {family} {method} {law} {rtol:g}"
            try:
                sol = ss.solve(problem, method, controller, rtol, rtol, max_steps=3000)
            except ValueError as error:
                yield label, f"ValueError {digest(np.frombuffer(str(error).encode(), np.uint8))}"
                continue
            yield label, digest(sol.t, sol.y, sol.status, *counts(sol.stats))
        if law in ("pi34", "predictive", "amuse", *ZOO):
            batch = ss.problems.family(family).split("test", 40)
            ens = ss.solve_ensemble(batch, method, controller, 1e-5, 1e-5, max_steps=3000, threads=1)
            yield f"ensemble {family} {method} {law}", digest(ens.t, ens.y, ens.status, *counts(ens.stats))


def rollouts() -> Iterator[tuple[str, str]]:
    """Environments, single and natively vectorised."""
    plans: list[tuple[str, dict[str, Any]]] = [
        ("stepsmith/ODE-v0", {"family": family, "reward": reward, "n_act": n_act})
        for family, n_act in (("lorenz", 1), ("lotka_volterra", 2), ("kepler", 2))
        for reward in ("matched", "matched_end", "constraint")
    ]
    plans += [("stepsmith/ODE-v0", {"family": "three_body", "reward": "propagated", "n_act": 2})]
    # the costs of linear algebra are measured otherwise, and differ from run to run
    plans += [
        ("stepsmith/ThreeBody-v0", {}),
        ("stepsmith/Stiff-v0", {"costs": {"jacobian": 1.0, "lu": 2.0, "solve": 0.5}}),
    ]
    plans += [("stepsmith/ThreeBodyPaper-v0", {})]
    for env_id, options in plans:
        made = options if "Paper" in env_id else {**options, "pool_size": 16}
        label = f"rollout {env_id} {options}"
        venv = gymnasium.make_vec(env_id, num_envs=8, vectorization_mode="vector_entry_point", **made)
        yield f"{label} lanes", digest(*_played(venv, True))
        if options.get("reward", "matched") in ("matched", "propagated"):
            yield f"{label} single", digest(*_played(gymnasium.make(env_id, **made), False))


def _played(env: Any, many: bool) -> list[Any]:
    obs, _ = env.reset(seed=3)
    out, rng = [obs], np.random.default_rng(0)
    space = env.action_space
    for _ in range(STEPS):
        if isinstance(getattr(env, "single_action_space", space), gymnasium.spaces.Box):
            action = rng.uniform(-1.0, 1.0, space.shape).astype(np.float32)
        else:
            n = int((env.single_action_space if many else space).n)
            action = rng.integers(n, size=8) if many else int(rng.integers(n))
        obs, reward, terminated, truncated, _ = env.step(action)
        out += [obs, reward, terminated, truncated]
        if not many and (terminated or truncated):
            out.append(env.reset()[0])
    env.close()
    return out


def torch_solves() -> Iterator[tuple[str, str]]:
    """`odeint` and its gradients."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    func = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()

    class Field(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = func

        def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.net(y)

    field, t = Field(), torch.linspace(0.0, 2.0, 5, dtype=torch.float64)
    y0 = torch.randn(6, 3, dtype=torch.float64)
    plans: list[dict[str, Any]] = [
        {"method": method, "controller": law, "per_sample": per_sample}
        for method in ("bs32", "dopri5", "tsit5", "dop853")
        for law in ("pi34", "h211b")
        for per_sample in (True, False)
    ]
    plans += [{"adjoint": adjoint, "heuristics": False} for adjoint in ("backsolve", "interpolating")]
    plans += [{"checkpoint_every": 3}, {"compact": True}, {"even_steps": True}, {"controller": "neural-field"}]
    for plan in plans:
        field.zero_grad()
        sol = ss.neural.odeint(field, y0, t, rtol=1e-6, atol=1e-8, **plan)
        loss = sol.y.square().sum()
        if sol.heuristics is not None:
            loss = loss + sum(v.sum() for v in (sol.heuristics.E, sol.heuristics.S) if isinstance(v, torch.Tensor))
        loss.backward()
        yield f"torch {plan}", digest(sol.y, loss, *(p.grad for p in field.parameters()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path, help="write the digests there")
    parser.add_argument("--against", type=Path, help="compare with the digests that stand there")
    args = parser.parse_args()
    start = time.perf_counter()
    found: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (torch_solves, rollouts, solves):
            before = len(found)
            for name, value in part():
                found[name] = value
            print(f"{part.__name__}: {len(found) - before} digests, {time.perf_counter() - start:.0f} s", flush=True)
            if args.save is not None:
                args.save.write_text(json.dumps(found, indent=1))
    if args.against is None:
        return 0
    known = json.loads(args.against.read_text())
    differ = [name for name in known if known[name] != found.get(name)]
    print(f"{len(known) - len(differ)} of {len(known)} results are the same to the last bit")
    for name in differ:
        print(f"differs: {name}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
