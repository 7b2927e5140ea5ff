"""PPO sets the strength of a regulariser in stepsmith/Regularization-v0, and becomes a file that training loops load.

    python benchmarks/strength_policy.py --seed 0 --minutes 20 --out regularization.safetensors

The reward of an episode's end has the return of the ratio .1 on the same instance taken off, as the table of constants
has it: a control variate, which changes no policy's rank and removes most of the difference between instances.  The
policy that did best on the validation instances, each once, is kept.  Prints a line every two rollouts: cost (1 is
that without a penalty), and the share of instances within the budget of quality.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnvWrapper

import stepsmith as ss
from stepsmith.controllers.strengths import policy_file
from stepsmith.controllers.strengths.observation import ratio_of
from stepsmith.envs.regularization import grid
from stepsmith.envs.regularization.instances import SPLITS
from stepsmith.envs.regularization.observe import SETS, observe
from stepsmith.envs.regularization.trainings import COUNT, Trainings
from stepsmith.policies.export_strength import strength_from_sb3

ID = "stepsmith/Regularization-v0"
#: index of the ratio .1 among the constants
TENTH = grid.RATIOS.index(0.1)


def returns(cost: np.ndarray, quality: np.ndarray, numbers: np.ndarray, lagrange: float) -> tuple[np.ndarray, ...]:
    """Returns of episodes on instances, and by how many budgets their quality is worse."""
    known = grid.measures()
    excess = (quality - known["quality"][numbers]) / known["budget"][numbers]
    return known["best"][numbers] - cost - lagrange * np.clip(excess - 1.0, 0.0, 10.0), excess


def of_constant(index: int, lagrange: float) -> np.ndarray:
    """Returns of a constant of the table on every instance."""
    table, known = grid.table()[:, index], grid.measures()
    cost = 0.5 * (table[:, 0] / known["spent"] + table[:, 1] / known["nfev"])
    return returns(cost, table[:, 2], np.arange(len(table)), lagrange)[0]


class ControlVariate(VecEnvWrapper):
    """Takes a known return of the instance off the last reward of its episode."""

    def __init__(self, venv: Any, known: np.ndarray) -> None:
        super().__init__(venv)
        self.known = known

    def reset(self) -> np.ndarray:
        return self.venv.reset()

    def step_wait(self) -> Any:
        obs, reward, done, infos = self.venv.step_wait()
        core = self.venv.core
        instance = core.stats[:, core.columns.index("instance")].astype(int)
        return obs, reward - np.where(done, self.known[instance], 0.0).astype(np.float32), done, infos


def validate(model: PPO, lagrange: float, split: str = "validation") -> dict[str, float]:
    """Means of the deterministic policy over a split, every instance once."""
    numbers, known = np.array(list(SPLITS[split])), grid.measures()
    work = Trainings(np.zeros((len(numbers), COUNT)))
    work.begin(np.arange(len(numbers)), numbers)
    grid.off(work)
    work.train(grid.ITERATIONS)
    work["loss_before"][:] = work["loss"]
    for decision in range(1, grid.DECISIONS + 1):
        action = model.predict(observe(work, grid.DECISIONS, SETS["run"]), deterministic=True)[0]
        work["loss_before"][:], work["decision"][:] = work["loss"], decision
        work["level_e"][:] = ratio_of(action[:, 0])
        work.train(grid.ITERATIONS)
    _, quality, nfev = work.examine()
    cost = 0.5 * (work["spent"] / known["spent"][numbers] + nfev / known["nfev"][numbers])
    found, excess = returns(cost, quality, numbers, lagrange)
    return {
        "return": float(found.mean()), "cost": float(cost.mean()), "within": float((excess <= 1.0).mean()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0, help="no rollout begins after them")
    parser.add_argument("--lanes", type=int, default=96)
    parser.add_argument("--lagrange", type=float, default=0.5, help="price of a loss of quality by a budget")
    parser.add_argument("--out", type=Path, default=Path("regularization.safetensors"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {"actions": 1, "observe": "run", "lagrange": given.lagrange}
    venv = ss.envs.make_sb3(ID, num_envs=given.lanes, seed=given.seed, **options)
    model = PPO(
        "MlpPolicy", ControlVariate(venv, of_constant(TENTH, given.lagrange)), n_steps=grid.DECISIONS,
        batch_size=given.lanes * 5, n_epochs=10, gamma=1.0, gae_lambda=0.95, learning_rate=2e-3, clip_range=0.2,
        ent_coef=0.0, target_kl=0.05, seed=given.seed, device="cpu",
        policy_kwargs={"net_arch": {"pi": [8], "vf": [32]}, "log_std_init": -1.0},
    )  # fmt: skip
    with torch.no_grad():
        model.policy.action_net.bias[:] = -0.33  # about a ratio of .1
    began, best = time.monotonic(), -np.inf
    while time.monotonic() - began < 60.0 * given.minutes:
        model.learn(grid.DECISIONS * given.lanes * 2, reset_num_timesteps=False)
        found = validate(model, given.lagrange)
        print(model.num_timesteps, {name: round(value, 3) for name, value in found.items()}, flush=True)
        if found["return"] > best:
            best = found["return"]
            made = {"algorithm": "ppo", "environment": ID, "seed": given.seed, "steps": model.num_timesteps}
            policy_file.save(strength_from_sb3(model, "regularization", {**made, **options}, found), given.out)


if __name__ == "__main__":
    main()
