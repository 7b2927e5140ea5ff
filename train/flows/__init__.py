"""Small generative models, trained in minutes on two cores: networks for samplers to be measured on.

    python -m stepsmith.train.flows digits --seed 0 --out runs/flow-digits-s0

`TASKS` says what there is; `load` reads a trained model.
"""

from __future__ import annotations

from .config import TASKS, FlowConfig
from .data import FlowData, data
from .training import load, train

__all__ = ["TASKS", "FlowConfig", "FlowData", "data", "load", "train"]
