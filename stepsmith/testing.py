"""For people who write an adapter: does it decide as the engine does?

    from stepsmith import testing

    rows = testing.conformance(MyAdapter)        # ten problems, four controllers, faults, lanes side by side

`MyAdapter(controller, lanes)` has `slots` and `decide` (`Adapter`); `docs/hosts.md` has one of thirty lines.  The first
answer that differs raises `Difference`, which says at which attempt.  `recorded` writes down a solve of the engine,
`check` plays such records to an adapter, and `reference` is what they are compared with.
"""

from .controllers.hosts.conformance import Difference, Log, check, recorded, reference
from .controllers.hosts.contract import Adapter, at_scale
from .controllers.hosts.kit import CONTROLLERS, FAMILIES, Row, attempts, conformance, faults

__all__ = [
    "CONTROLLERS", "FAMILIES", "Adapter", "Difference", "Log", "Row", "at_scale", "attempts", "check", "conformance",
    "faults", "recorded", "reference",
]  # fmt: skip
