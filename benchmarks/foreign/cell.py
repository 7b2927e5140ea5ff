"""The frame of one foreign training run: its command line, its clock, and the JSON in which it says what it took.

It is imported by the scripts beside it and has no command of its own.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stepsmith as ss
from stepsmith.train.run.provenance import provenance

# One thread each, so that runs beside each other and the number of cores change little.  JAX reads these when it first
# computes; torch is told by its own function.
os.environ.setdefault("NPROC", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")


class Clock:
    """Seconds inside its `with` blocks, one block an iteration.  `first` are those of the first one, where kernels are
    loaded; `seconds` has them too.
    """

    def __init__(self) -> None:
        self.seconds = self.first = self.cpu_seconds = 0.0
        self.iterations = 0

    def __enter__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self.began[0]
        self.cpu_seconds += time.process_time() - self.began[1]
        self.seconds += spent
        self.iterations += 1
        if self.iterations == 1:
            self.first = spent


def chosen(name: str) -> Any:
    """The controller of a name or file; "universal_law@4" is universal_law with the tolerance scale 4."""
    name, _, scale = name.partition("@")
    found = ss.controller(name)
    return found.replace(tolerance_scale=float(scale)) if scale else found


def report(clock: Clock, losses: list[float], per_epoch: int, **more: Any) -> dict[str, Any]:
    """What `train` returns: the clock's figures, the mean loss of the last epoch, and `more`."""
    last = losses[-per_epoch:]
    return {
        **more, "iterations": clock.iterations, "seconds": clock.seconds, "seconds_first": clock.first,
        "cpu_seconds": clock.cpu_seconds, "loss": sum(last) / len(last),
    }  # fmt: skip


def main(
    host: str, tasks: tuple[str, ...], train: Callable[..., dict[str, Any]], tolerances: tuple[float, float], about: str
) -> None:
    """Run `train(seed, controller, rtol, atol, task=..., quick=...)` as the command line says, and print its result.

    tolerances: rtol and atol where none are given.  A train that takes `alone` can leave warm start and even steps out.
    A run that raises has "failed", the error, among its figures.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=tasks[0], choices=tasks)
    parser.add_argument("--controller", default="default", help="a law, a zoo controller or a file; the host's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rtol", type=float, default=tolerances[0])
    parser.add_argument("--atol", type=float, default=tolerances[1])
    parser.add_argument("--quick", action="store_true", help="three iterations, to see that it runs")
    separable = "alone" in inspect.signature(train).parameters
    if separable:
        parser.add_argument("--alone", action="store_true", help="without warm start and even steps")
    parser.add_argument("--out", help="file for the JSON, which is printed too")
    args = parser.parse_args()
    result = {
        "task": args.task, "host": host, "controller": args.controller, "seed": args.seed, "rtol": args.rtol,
        "atol": args.atol, "quick": args.quick, "provenance": provenance(),
    }  # fmt: skip
    more = {"alone": args.alone} if separable else {}
    controller = None if args.controller == "default" else args.controller
    try:
        result |= train(args.seed, controller, args.rtol, args.atol, task=args.task, quick=args.quick, **more)
    except Exception as problem:  # a solver that gives up is a result too
        result["failed"] = f"{type(problem).__name__}: {str(problem).strip()[:500]}"
    text = json.dumps(result, indent=1)
    if args.out:
        Path(args.out).write_text(text)
    print(text)
