"""Online tuning: bandits that learn which settings are cheapest while a sequence of related problems is solved.

`online` makes a `Tuner`; `TsallisINF`, `ChebCB`, `EpsilonGreedy` and `Fixed` are bandits on any arms and costs.
"""

from .bandit import Bandit
from .baselines import EpsilonGreedy, Fixed
from .chebyshev import ChebCB
from .online import Tuner, online
from .tsallis import TsallisINF

__all__ = ["Bandit", "ChebCB", "EpsilonGreedy", "Fixed", "Tuner", "TsallisINF", "online"]
