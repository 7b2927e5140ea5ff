"""Step sizes as a reinforcement-learning problem: Gymnasium's face, Stable-Baselines3's, and a trained policy as a
file.

    python examples/rl_researcher.py [--quick]
"""

import sys
import tempfile
from pathlib import Path

import gymnasium
import numpy as np
from stable_baselines3 import PPO

import stepsmith as ss
from stepsmith.controllers.file import save
from stepsmith.policies.export import from_sb3


def main(quick: bool) -> None:
    env = gymnasium.make_vec("stepsmith/ThreeBody-v0", num_envs=4, method="tsit5", pool_size=8)
    env.reset(seed=0)
    total = sum(env.step(np.zeros((4, 2), np.float32))[1] for _ in range(100))  # action 0 is the base law
    print("returns of the base law so far:", np.round(total, 3))

    venv = ss.envs.make_sb3(
        "stepsmith/ODE-v0", num_envs=256, family="three_body", method="tsit5", pool_size=8 if quick else 256
    )
    model = PPO(
        "MlpPolicy",
        venv,
        n_steps=64,
        batch_size=4096,
        gamma=0.999,
        policy_kwargs={"net_arch": [16]},
        device="cpu",
        seed=0,
    )
    model.learn(20_000 if quick else 1_000_000)

    with tempfile.TemporaryDirectory() as folder:
        path = save(
            from_sb3(model, venv.core.decision).replace(name="mine", family="three_body"),
            Path(folder) / "mine.safetensors",
        )
        sol = ss.solve(
            ss.problems.make("three_body", seed=1), method="tsit5", controller=str(path), rtol=1e-6, atol=1e-9
        )
        print(
            f"{path.name} in the solver: {sol.stats.nfev} f-evaluations, {sol.stats.nfallback} decisions left to the "
            "law"
        )
        size = 6 if quick else 100
        report = ss.compare("three_body", "tsit5", [str(path)], n=size, n_validation=size, wall=False, progress=False)
    figure = report.headline["nfev"]
    print(
        f"against {report.headline['against']} at equal error: {figure['ratio']:.2f} [{figure['low']:.2f}, "
        f"{figure['high']:.2f}]"
    )


if __name__ == "__main__":
    main("--quick" in sys.argv)
