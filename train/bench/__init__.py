"""A frozen benchmark for reinforcement learning: protocols, submissions, records and leaderboards.

    from stepsmith.train import bench

    record = bench.evaluate("mine.safetensors", "orbits-v1")          # or a function of observations to actions
    venv = ss.envs.make_sb3("stepsmith/ODE-v0", 256, 0, **bench.load("orbits-v1").env)     # to train in
"""

from .cells import run
from .evaluation import evaluate
from .instance_file import BenchError
from .protocol import Protocol, load, members, names
from .submitting import submit
from .tables import leaderboard

__all__ = ["BenchError", "Protocol", "evaluate", "leaderboard", "load", "members", "names", "run", "submit"]
