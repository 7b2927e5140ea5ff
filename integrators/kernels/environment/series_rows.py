"""What the template `series` needs: which actions an environment has beside the controller's own, rows, constants."""

from __future__ import annotations

from .. import templates
from ..layout import Layout

#: what is observed beside the features.  starting: 1 where the first size is to be decided on, else 0.  warm: 1 where a
#: solve before says with which size to begin.  log_first: log of that size over the span, at least -10, 0 where there
#: is none.  log_attempts, rejected: of the last solve of the same training, log of its attempts and the share of them
#: that was rejected, 0 before the first
MORE_NAMES = ("starting", "warm", "log_first", "log_attempts", "rejected")
#: actions of a kernel that solves in series, by their number: the controller's size alone, the first size too, the
#: division of what is left too
MOST_ACTIONS = 3
#: how far an action moves the logarithm of the first size
FIRST_SCALE = 2.0


def add_rows(lay: Layout, n_obs: int) -> None:
    """Rows of the template, of a controller that observes n_obs features."""
    for row in ("WARM", "NEXTH", "FIRST", "DIVIDED"):
        lay.add(row)
    lay.add("SEEN", n_obs)
    lay.add("MORE", len(MORE_NAMES))


def constants(actions: int, act_at: int) -> str:
    """Source lines of the constants that the templates name: of so many actions, 0 for a kernel without series."""
    return templates.constants(
        SERIES=actions > 0, DECIDES=actions > 1, DIVIDES=actions > 2, FIRST_SCALE=FIRST_SCALE, ACT_AT=act_at,
        N_MORE=len(MORE_NAMES),
    )  # fmt: skip
