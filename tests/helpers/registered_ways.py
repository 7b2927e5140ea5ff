"""Registered things called as a person would: run beside the examples of the extension guide; prints "all"."""

import copy
import os
import pickle
import threading

import gymnasium
import my_family  # noqa: F401
import my_feature  # noqa: F401
import my_law  # noqa: F401
import my_reward  # noqa: F401
import numpy as np
import ralston  # noqa: F401

import stepsmith as ss
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.train.config import config, resolved

FEATURES = ("log_err", "log_evaluations")


def evaluations(controller):
    return ss.solve(prob, "ralston21", controller, 1e-4, 1e-6).stats.nfev


prob = ss.problems.make("lotka_volterra", seed=0)
c = Learned.random(Decision(FEATURES, "my_pi", n_act=1), hidden=(4,), rng=0)
n = evaluations(c)
assert evaluations(pickle.loads(pickle.dumps(c))) == n == evaluations(copy.deepcopy(c))

found: list[int] = []
threads = [threading.Thread(target=lambda: found.append(evaluations(c))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == [n] * 4

pid = os.fork()
if pid == 0:
    os._exit(0 if ss.solve_ensemble(prob.batch(), "ralston21", c, 1e-4, 1e-6).stats.nfev[0] == n else 1)
assert os.waitpid(pid, 0)[1] == 0

options = {
    "family": "my_pendulum",
    "law": "my_pi",
    "features": FEATURES,
    "reward": "work_and_error",
    "rtol": (1e-3, 1e-4),
    "pool_size": 8,
}
env = gymnasium.make("stepsmith/ODE-v0", method="ralston21", **options).unwrapped
env.reset(seed=0)
env.step(env.action_space.sample())
again = pickle.loads(pickle.dumps(env))
action = np.zeros(2, np.float32)
assert env.step(action)[1] == again.step(action)[1]

train = {"total_steps": 2048, "num_envs": 16, "n_steps": 64, "batch_size": 512}
cfg = config.from_dict({"name": "toy", "algorithm": "ppo", "env": {**options, "rtol": [1e-3, 1e-4]}, "train": train})
assert resolved.resolved(cfg)["env"]["reward"] == "work_and_error"
print("all")
