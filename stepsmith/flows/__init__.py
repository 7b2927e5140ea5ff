"""Flow and diffusion models with PyTorch: processes, models, grids and samplers.

    model = ss.flows.Model(net, ss.flows.FlowMatching(), predicts="velocity")
    out = ss.flows.sample(model, torch.randn(256, 64), method="ab2", steps=8)

A process says how data become noise, a model what its network predicts, and `sample` turns noise into data.  `learn`
finds a sampler of few evaluations for a frozen model, a `Schedule`.
"""

from __future__ import annotations

from ..integrators.core import torch_needed as _torch_needed  # noqa: F401 (before torch)

# isort: split
from .cnf import CNF, LogDensity
from .grids import GRIDS, edm_sigmas, times
from .hypersolver import Hypersolver
from .learners import KINDS, learn
from .metrics import energy_distance, fine, paired_error
from .mixture import Mixture, mixture
from .model import PREDICTIONS, Model
from .processes import EDM, PROCESSES, VE, VP, FlowMatching, Process, from_dict
from .samples import Samples
from .sampling import METHODS, on_grid, sample
from .schedule import Schedule

__all__ = [
    "CNF", "EDM", "GRIDS", "KINDS", "METHODS", "PREDICTIONS", "PROCESSES", "VE", "VP", "FlowMatching", "Hypersolver",
    "LogDensity", "Mixture", "Model", "Process", "Samples", "Schedule", "edm_sigmas", "energy_distance", "fine",
    "from_dict", "learn", "mixture", "on_grid", "paired_error", "sample", "times",
]  # fmt: skip
