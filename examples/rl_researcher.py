"""Step sizes as a reinforcement-learning problem: Gymnasium, Stable-Baselines3, and a trained policy as a file.

    python examples/rl_researcher.py [--quick]
"""

import sys
import tempfile

import gymnasium
import numpy as np
from stable_baselines3 import PPO

import stepsmith as ss
from stepsmith.controllers.file import save
from stepsmith.policies.export import from_sb3


def main(quick: bool) -> None:
    env = gymnasium.make_vec("stepsmith/ThreeBody-v0", num_envs=4, method="tsit5", pool_size=8)
    env.reset(seed=0)
    total = sum(env.step(np.zeros((4, 2), np.float32))[1] for _ in range(100))
    print("returns of the base law (its action is 0) so far:", np.round(total, 3))

    size, steps, pool = (6, 20_000, 8) if quick else (100, 1_000_000, 256)
    venv = ss.envs.make_sb3("stepsmith/ODE-v0", num_envs=256, family="three_body", method="tsit5", pool_size=pool)
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=4096, gamma=0.999, device="cpu", seed=0,
                policy_kwargs={"net_arch": [16]})  # fmt: skip
    model.learn(steps)

    with tempfile.TemporaryDirectory() as folder:
        policy = from_sb3(model, venv.core.decision).replace(name="mine", family="three_body")
        file = str(save(policy, f"{folder}/mine.safetensors"))
        stats = ss.solve(ss.problems.make("three_body", seed=1), method="tsit5", controller=file, rtol=1e-6).stats
        print(f"mine.safetensors in the solver: {stats.nfev} f-evaluations, {stats.nfallback} decisions by the law")
        found = ss.compare("three_body", "tsit5", [file], n=size, n_validation=size, wall=False).headline
    print("against {against} at equal error: {nfev[ratio]:.2f} [{nfev[low]:.2f}, {nfev[high]:.2f}]".format(**found))


if __name__ == "__main__":
    main("--quick" in sys.argv)
