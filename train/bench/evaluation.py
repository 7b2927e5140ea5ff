"""One submission measured on a protocol's test instances: matched-error work against the protocol's law, as a record.

    record = evaluate("mine.safetensors", "orbits-v1")
    record["ratio"]                  # {"ratio": 0.91, "low": ..., "high": ...}; below 1 less work than the law's
    record["instances"]["orbits-v1/17"]["log_ratio"]

The work is right-hand sides, under an implicit method linear algebra too, at the costs that the protocol fixes; so a
record does not depend on the machine, but for rounding.  The clock is asked for (`clock=True`), and is this machine's.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from ...integrators import methods
from ...integrators.core import options
from ..config import settings
from ..evaluate import contestants
from ..evaluate.metric import Runs, WorkRatio, work_ratio
from ..evaluate.splits import Split, Sweep, draw
from ..run.provenance import provenance
from ..run.runfiles import plain
from .episodes import play
from .instance_file import BenchError
from .protocol import Protocol, load
from .submission import Submission, taken

SCHEMA = 1
#: rounds of the clock at each tolerance, of which the least counts
ROUNDS = 3
#: log ratios up to this are a tie: an environment keeps the logarithm of its work
SAME = 1e-9


@options.named
def evaluate(
    submission: Any, protocol: str | Protocol, *, name: str | None = None, seed: int = 0, clock: bool = False
) -> dict[str, Any]:
    """Measure a submission on the test instances of a protocol; returns the record, as plain data.

    submission    a controller's path, name or object, "file.py:NAME", or a policy (`bench.submission`)
    protocol      a protocol or its name
    name          what the row is called; default the submission's own name
    seed          the training seed that the submission came from
    clock         time whole compiled solves of a controller too, against the law's

    BenchError and ValueError on what cannot be evaluated; see `submission.taken`.  Warns where the law replaced answers
    of a policy, which were not finite or left [-1, 1]; the record holds their share, `replaced`.
    """
    given = protocol if isinstance(protocol, Protocol) else load(protocol)
    if name is not None:
        settings.run_name("name", name)
    seed = settings.seed("seed", seed)
    options.flag("clock", clock)
    found = taken(submission, given, name)
    if clock and found.controller is None:
        raise BenchError(f"{found.name} is a Python policy, which no compiled solve can time: leave the clock out")
    began = time.perf_counter()
    split = test_split(given)
    sweep, replaced = _swept(found, given, split)
    runs = _runs(found.name, sweep, split)
    ratio = work_ratio(runs, base_runs(given), given.family.error_levels, "work")
    assert ratio is not None  # both were measured
    record = {
        "schema": SCHEMA, "protocol": given.name, "digest": given.digest, "row": found.name, "seed": seed,
        "submission": {"source": found.source, "sha256": found.sha256}, **_figures(ratio, runs, split, given),
        "replaced": replaced,
    }  # fmt: skip
    if clock:
        record["clock"] = _clock(found.controller, runs, given)
    return plain({**record, "seconds": round(time.perf_counter() - began, 2), **provenance()})


@functools.cache
def test_split(protocol: Protocol) -> Split:
    """All test instances of a protocol with their references, which are kept on disk."""
    return draw(protocol.family, protocol.method, "test", protocol.size("test"), 0, protocol.costs)


@functools.cache
def base_runs(protocol: Protocol) -> Runs:
    """What the protocol's law does on the test instances."""
    split = test_split(protocol)
    return _runs("law", split.sweep(law_of(protocol), _tolerances(split), protocol.max_attempts), split)


def _tolerances(split: Split) -> np.ndarray:
    """The tolerances as environments have them, which hold their logarithms: the last digit differs, and under an
    implicit method whole runs may follow.
    """
    return np.array([math.exp(math.log(rtol)) for rtol in split.tolerances])


def law_of(protocol: Protocol) -> Any:
    """The protocol's law in the kernel that it runs in: laws of implicit methods share one, which takes long to
    compile.
    """
    return protocol.law.general() if methods.get(protocol.method).implicit else protocol.law.specialised()


def _swept(found: Submission, protocol: Protocol, split: Split) -> tuple[Sweep, float | None]:
    """What a submission does, and the share of a policy's answers that the law replaced; None of a controller."""
    if found.controller is not None:
        return split.sweep(found.controller, _tolerances(split), protocol.max_attempts), None
    sweep, replaced = play(protocol, found.policy, split, found.name)
    if replaced > 0.0:
        warnings.warn(
            f"{found.name}: {100.0 * replaced:.3g} % of its actions were not finite or left [-1, 1], and the law "
            "decided in their place: clip them", stacklevel=4,
        )  # fmt: skip
    return sweep, replaced


def _runs(name: str, sweep: Sweep, split: Split) -> Runs:
    return contestants.by_tolerance(name, "learned", None, split).runs(split, sweep)


def _figures(ratio: WorkRatio, runs: Runs, split: Split, protocol: Protocol) -> dict[str, Any]:
    """What a record holds of a ratio: the figure, its tail, and every instance by its name."""
    ids = protocol.ids("test")
    both = ratio.lost_by_both
    lost, lost_by_law = (np.isin(split.ids, (*which, *both)) for which in (ratio.lost, ratio.lost_by_denominator))
    each = {
        ids[i]: {"log_ratio": r, "lost": a, "lost_by_law": b}
        for i, r, a, b in zip(split.ids, ratio.log_ratio, lost, lost_by_law, strict=True)
    }
    return {
        "ratio": ratio.figure.to_json(), "verdict": ratio.figure.verdict,
        "share_lost": float((lost | (ratio.log_ratio > SAME)).mean()),
        "worst_1pct": ratio.worst_1pct, "worst": ratio.worst, "failures": runs.failures, "runs": runs.err.size,
        "rejected_share": runs.rejected_share, "no_reference": [ids[i] for i in split.failed], "instances": each,
    }  # fmt: skip


def _clock(controller: Any, runs: Runs, protocol: Protocol) -> dict[str, Any]:
    """The work ratio in seconds of whole ensembles on one thread, decisions inside; the two take turns."""
    split, law, steps = test_split(protocol), law_of(protocol), protocol.max_attempts
    seconds = np.array([
        [[split.seconds(c, float(r), max_steps=steps) for c in (controller, law)] for r in split.tolerances]
        for _ in range(ROUNDS)
    ]).min(axis=0)  # fmt: skip
    base = base_runs(protocol)
    own, theirs = (
        replace(r, work={**r.work, "wall": seconds[:, k]}) for k, r in enumerate((runs, base))
    )
    found = work_ratio(own, theirs, protocol.family.error_levels, "wall")
    assert found is not None  # both were timed
    return {**found.figure.to_json(), "rounds": ROUNDS}
