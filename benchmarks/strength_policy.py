"""PPO sets the strength of a regulariser in stepsmith/Regularization-v0, and becomes a file that training loops load.

    python benchmarks/strength_policy.py --seed 0 --minutes 20 --out regularization.safetensors

It begins as the constant ratio .1, against which returns are measured, and goes on until the time is up; `stepsmith
train regularization_ppo` does the same for a number of steps, and resumes.  The policy that did best on the validation
instances, each once, is kept.  Prints a line every two rollouts: cost (1 is that without a penalty), and the share of
instances within the budget of quality.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO

import stepsmith as ss
from stepsmith.controllers.strengths import policy_file
from stepsmith.controllers.strengths.observation import action_of
from stepsmith.envs.regularization import grid
from stepsmith.policies.export_strength import strength_from_sb3
from stepsmith.train.evaluate import strengths

ID = "stepsmith/Regularization-v0"


def validate(model: PPO, lagrange: float, split: str = "validation") -> dict[str, float]:
    """Means of the deterministic policy over a split, every instance once."""
    found = strengths.play(lambda obs: model.predict(obs, deterministic=True)[0], strengths.instances(split), lagrange)
    return strengths.means(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0, help="no rollout begins after them")
    parser.add_argument("--lanes", type=int, default=96)
    parser.add_argument("--lagrange", type=float, default=0.5, help="price of a loss of quality by a budget")
    parser.add_argument("--out", type=Path, default=Path("regularization.safetensors"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {"actions": 1, "observe": "run", "lagrange": given.lagrange, "against": 0.1}
    venv = ss.envs.make_sb3(ID, num_envs=given.lanes, seed=given.seed, **options)
    model = PPO(
        "MlpPolicy", venv, n_steps=grid.DECISIONS, batch_size=given.lanes * 5, n_epochs=10, gamma=1.0, gae_lambda=0.95,
        learning_rate=2e-3, clip_range=0.2,
        ent_coef=0.0, target_kl=0.05, seed=given.seed, device="cpu",
        policy_kwargs={"net_arch": {"pi": [8], "vf": [32]}, "log_std_init": -1.0},
    )  # fmt: skip
    with torch.no_grad():
        model.policy.action_net.bias[:] = action_of(0.1)
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
