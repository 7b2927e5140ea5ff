"""Training and measuring controllers, and the command line."""

from typing import Any

from ..integrators.core.moved import attributes

_moved = attributes(__name__)


def __getattr__(name: str) -> Any:
    if name != "TimeAwarePPO":
        return _moved(name)
    try:
        from .algorithms.time_aware_ppo import TimeAwarePPO
    except ModuleNotFoundError as error:
        if error.name not in ("stable_baselines3", "torch"):
            raise
        raise ModuleNotFoundError(
            f"TimeAwarePPO needs {error.name}, which is not installed: pip install 'stepsmith[train]'", name=error.name
        ) from None
    return TimeAwarePPO
