"""Train a small generative model.

    python -m stepsmith.train.flows TASK [--seed 0] [--out FOLDER] [--process flow_matching|vp|ve|edm] [--classes]
                                    [--width N] [--layers N] [--iterations N] [--resume] [--quiet]

TASK is checkerboard, moons, digits or mnist.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ... import flows
from ..run import ending
from ..run.interrupted import Kept
from .config import TASKS, FlowConfig
from .training import train

PROGRAM = ("python", "-m", "stepsmith.train.flows")


def main(args: list[str] | None = None) -> None:
    """Run the command and exit, with the codes of `run.ending`."""
    given = sys.argv[1:] if args is None else args
    code = ending.code_of(lambda: _run(given), lambda kept: _again(given, kept))
    if args is None:  # the process is this program's own
        ending.leave(code)
    sys.exit(code)


def _again(args: list[str], kept: tuple[Kept, ...]) -> str:
    if not any(one.resumes for one in kept):
        return f"begin anew with: {ending.command(PROGRAM, args)}"
    return f"go on with: {ending.command(PROGRAM, args, ['--resume'])}"


def _run(args: list[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m stepsmith.train.flows", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="run folder (default: runs/flow-<name>-s<seed>)")
    parser.add_argument("--process", choices=list(flows.PROCESSES), default="flow_matching")
    parser.add_argument("--classes", action="store_true", help="tell the network the class")
    parser.add_argument("--width", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    given = parser.parse_args(args)
    config = FlowConfig(
        given.task, given.process, given.seed, given.width, given.layers, given.iterations, given.classes
    )
    print(train(config, given.out, given.resume, not given.quiet))


if __name__ == "__main__":
    main()
