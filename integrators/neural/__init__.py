"""Neural differential equations: a differentiable explicit solver in torch that any controller drives.

Importing this package imports torch.
"""

from ..core import torch_needed  # noqa: F401 (the first import)
from ..core.namespaces import NUMPY, torch_namespace
from ..core.runner import LaneController
from .api import ADJOINTS, odeint
from .solution import Heuristics, NeuralSolution, NeuralStats

__all__ = ["ADJOINTS", "NUMPY", "TORCH", "Heuristics", "LaneController", "NeuralSolution", "NeuralStats", "odeint"]

TORCH = torch_namespace()
