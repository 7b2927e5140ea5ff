"""What a training run is asked for: its TOML file, the rules for every setting, and what defaults fill in."""

from .config import ALGORITHMS, Config, Evaluate, Policy, from_dict, load, read

__all__ = ["ALGORITHMS", "Config", "Evaluate", "Policy", "from_dict", "load", "read"]
