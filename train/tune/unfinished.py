"""The best law of a search that is interrupted: kept in a file that another search starts from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...controllers.laws import tuned as files
from ...controllers.laws.law import Law
from ..run.interrupted import Kept, chain, keep
from ..run.provenance import provenance


class Lowest:
    """The law of the least cost that a search has seen so far, and the base law that it came from."""

    def __init__(self, name: str, method: str, seed: int) -> None:
        self.name, self.method, self.seed = name, method, seed
        self.law: Law | None = None
        self.base, self.cost, self.tried = "", float("inf"), 0

    def see(self, law: Law, base: str, cost: float) -> None:
        """Look at one candidate."""
        self.tried += 1
        if cost < self.cost:
            self.law, self.base, self.cost = law, base, cost

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Let an interruption of the block carry what was found, for `saving`."""
        try:
            yield
        except KeyboardInterrupt as error:
            noted: Any = error
            noted.lowest = self
            raise


@contextlib.contextmanager
def saving(place: Callable[[Lowest], Path]) -> Iterator[None]:
    """Where an interruption of the block carries a search's best law, write it to the file that `place` names, and note
    the command's `--start` on the interruption.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        lowest: Lowest | None = next((one.lowest for one in chain(error) if hasattr(one, "lowest")), None)
        if lowest is not None and lowest.law is not None:
            path = place(lowest)
            facts = {
                "family": lowest.name, "method": lowest.method, "base": lowest.base, "seed": lowest.seed,
                "doc": f"the best of {lowest.tried} candidates of an unfinished search on {lowest.name}",
                "unfinished": True, **provenance(),
            }  # fmt: skip
            files.write(path, lowest.law, facts)
            what = f"the best law of {lowest.tried} candidates on the training split, from which a search can start"
            keep(error, Kept(str(path), what, True, ("--start", str(path))))
        raise
