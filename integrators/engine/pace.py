"""How many attempts a compiled loop makes before it returns to Python, where an interrupt is answered.

What an attempt takes is not known beforehand: a call of two numbers or of a network.  The first calls are short and
grow while they take less than a fiftieth of a second; after that a call takes between that and some tenths.
"""

from __future__ import annotations

import time

FIRST = 256
ENOUGH_S = 0.02
MOST = 2**40


class Pace:
    """`most`: attempts of the next call; `more()` after a call that did not finish.  since: `perf_counter` at the first
    call's begin.
    """

    __slots__ = ("most", "_since")

    def __init__(self, since: float | None = None) -> None:
        self.most = FIRST
        self._since = time.perf_counter() if since is None else since

    def more(self) -> int:
        """Attempts of the next call."""
        now = time.perf_counter()
        if now - self._since < ENOUGH_S and self.most < MOST:
            self.most *= 4
        self._since = now
        return self.most
