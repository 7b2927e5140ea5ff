"""Train a small generative model.

    python -m stepsmith.train.flows TASK [--seed 0] [--out FOLDER] [--process flow_matching|vp|ve|edm] [--classes]
                                    [--width N] [--layers N] [--iterations N] [--resume] [--quiet]

TASK is checkerboard, moons, digits or mnist.
"""

from __future__ import annotations

import argparse
import sys

from ... import flows
from .config import TASKS, FlowConfig
from .training import train


def main(args: list[str] | None = None) -> None:
    """Run the command."""
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
    try:
        config = FlowConfig(
            given.task, given.process, given.seed, given.width, given.layers, given.iterations, given.classes
        )
        print(train(config, given.out, given.resume, not given.quiet))
    except (ValueError, ModuleNotFoundError) as error:
        sys.exit(f"stepsmith: {error}")


if __name__ == "__main__":
    main()
