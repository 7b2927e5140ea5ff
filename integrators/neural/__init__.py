"""Neural differential equations: a differentiable explicit solver in torch that any controller drives.

Importing this package imports torch.
"""

from .api import ADJOINTS, odeint
from .controller import NUMPY, TORCH, LaneController
from .solution import Heuristics, NeuralSolution, NeuralStats

__all__ = ["ADJOINTS", "NUMPY", "TORCH", "Heuristics", "LaneController", "NeuralSolution", "NeuralStats", "odeint"]
