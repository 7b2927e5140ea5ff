"""What a comparison has measured so far: laws, learned controllers, and the clocks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from ..run.progress import Progress
from . import contestants
from .clock import SINGLE_INSTANCES, SINGLE_KNOBS, single_clock, wall_clock
from .contestants import Contestant, Entry, Guest
from .fastest import NEAR, fastest, least_ratio, near
from .headline import choose_denominator
from .metric import DENOMINATOR_KINDS, Runs, across_seeds, point_ratio
from .own_kernels import headline_kernels
from .rates import Rate
from .splits import Split, Sweep

TIMERS = {"wall": wall_clock, "single": single_clock}


@dataclass
class Measured:
    """What a comparison has measured so far: the laws first, then the learned controllers, then the clocks.

    against     name of the denominator, the best law on the validation split
    validation  ratio of every law to it there
    on_valid    on the validation split, every law with its runs
    table       on the test split, every contestant with its runs; of a learned controller its median seed
    across      of a learned controller, the runs of all its training seeds
    rates       by clock and contestant, what the clock said
    clocks      by clock, the law that is fastest on the validation split
    mixed       learned controllers whose training seeds differ in what they compute
    said        sentences on how the clocks were read
    executor    its workers share the runs, to the same numbers; the clocks are read here
    """

    test: Split
    valid: Split
    max_steps: int
    bar: Progress
    against: str = ""
    validation: dict[str, float] = field(default_factory=dict)
    on_valid: list[Entry] = field(default_factory=list)
    table: list[Entry] = field(default_factory=list)
    across: dict[str, list[Runs]] = field(default_factory=dict)
    rates: dict[str, Mapping[str, Rate]] = field(default_factory=dict)
    clocks: dict[str, str] = field(default_factory=dict)
    mixed: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    executor: Executor | None = None

    @property
    def base(self) -> Runs:
        """The denominator's runs on the test split."""
        return next(e.runs(self.test, s) for e, s in self.table if e.name == self.against)

    @property
    def fewest(self) -> Sweep:
        """Runs of the law that comes first, whose attempts say how long an instance is."""
        return next((s for e, s in self.table if e.by_tolerance), self.table[0][1])

    def run_laws(self, laws: Sequence[Contestant]) -> None:
        """Choose the denominator on the validation split, and run all laws and a constant step on the test split."""
        chosen = [e for e in laws if e.kind in DENOMINATOR_KINDS]
        swept = self._sweeps([*((e, self.valid) for e in chosen), *((e, self.test) for e in laws)])
        self.on_valid = list(zip(chosen, swept, strict=False))
        runs = [e.runs(self.valid, s) for e, s in self.on_valid]
        self.against, self.validation = choose_denominator(runs, self.test.family.error_levels)
        self.table = list(zip(laws, swept[len(chosen) :], strict=True))
        constant = contestants.constant(self.test, self.fewest.attempts)
        self.table += zip([constant], self._sweeps([(constant, self.test)]), strict=True)

    def run_learned(self, learned: Sequence[Guest]) -> None:
        """Run every training seed of the learned controllers; the median seed gets the row."""
        base = self.base
        every = [[contestants.by_tolerance(g.name, g.kind, c, self.test) for c in g.seeds] for g in learned]
        swept = iter(self._sweeps([(e, self.test) for several in every for e in several]))
        for g, several in zip(learned, every, strict=True):
            pairs = [(e, next(swept)) for e in several]
            runs = [e.runs(self.test, s) for e, s in pairs]
            levels = self.test.family.error_levels
            median, _ = across_seeds({i: point_ratio(r, base, levels) for i, r in enumerate(runs)})
            self.across[g.name] = runs
            if len({getattr(c, "key", None) for c in g.seeds}) > 1:
                self.mixed.append(g.name)
            self.table.append(pairs[median])

    def time(self, clocks: Sequence[str], repeats: int) -> None:
        """Read the clocks: choose the fastest law of each on the validation split, then time the test split."""
        levels = self.test.family.error_levels
        if clocks:
            runs = {e.name: e.runs(self.valid, s) for e, s in self.on_valid}
            ratios = {name: least_ratio(r, runs[self.against], levels) for name, r in runs.items()}
            candidates = near(self.on_valid, ratios)
            self.said.append(
                f"clocks: {len(candidates)} laws within {100 * (NEAR - 1):.0f} % of the least work on the validation "
                f"split were timed there to find the fastest; {repeats} rounds, the contestants taking turns"
            )
            self.said += [
                f"{name}: its training seeds differ in what they compute; the clocks are the median seed's, and say "
                "nothing of the others'" for name in self.mixed
            ]  # fmt: skip
        for name in clocks:
            on_valid = functools.partial(self._clock, name, self.valid, repeats, False)
            self.clocks[name], finalists = fastest(candidates, self.valid, name, on_valid, levels)
            table = headline_kernels(self.table, self.base, self.test, finalists)
            if name == "single":
                wanted = {e.name for e, _ in candidates} | {self.against, "tuned", *finalists}
                table = [(e, s) for e, s in table if e.name in wanted or e.kind in ("learned", "host")]
            self.rates[name] = self._clock(name, self.test, repeats, True, table)
        if "single" in clocks:
            self.said.append(
                f"single solves: the compiled kernel of ss.solve was timed on at most {SINGLE_INSTANCES} instances and "
                f"{SINGLE_KNOBS} tolerances, of laws near the best alone; its seconds an evaluation stand for all runs"
            )

    def _clock(
        self, name: str, split: Split, repeats: int, apart: bool, table: Sequence[Entry]
    ) -> Mapping[str, Rate]:
        return TIMERS[name](table, split, repeats, self.max_steps, self.bar, self.said, apart)

    def runs(self) -> list[Runs]:
        """The runs of the whole table, with the clocks that were read."""
        out = []
        for e, s in self.table:
            clocks = {name: rates[e.name] for name, rates in self.rates.items() if e.name in rates}
            out.append(e.runs(self.test, s, clocks))
        # every training seed of a controller is charged the median seed's rates: their networks are of one size
        by_name = {r.name: r for r in out}
        for name, several in self.across.items():
            self.across[name] = [charged(r, by_name[name]) for r in several]
        return out

    def _sweeps(self, asked: Sequence[tuple[Contestant, Split]]) -> list[Sweep]:
        """What every contestant does on its split, in their order."""
        return contestants.sweeps(asked, self.max_steps, self.executor, self.bar.advance)


def charged(r: Runs, timed: Runs) -> Runs:
    """The runs of a training seed with the clocks of the one that was timed, by its seconds a unit of work."""
    clocks = {m: r.work["work"] * (timed.work[m] / timed.work["work"])[:1] for m in timed.rounds}
    return Runs(r.name, r.err, {**r.work, **clocks}, r.tol, r.attempts, r.rejected, r.kind, r.ids, timed.rounds)
