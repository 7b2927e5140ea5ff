"""diffrax's example continuous_normalising_flow.ipynb as it is written for torchdiffeq, with its constant steps.

    python benchmarks/examples/diffrax_cnf_grid.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 50]

diffrax_cnf.py in ten steps of .05 a block, as in the example, by rk4 for Tsit5, which torchdiffeq has not.  Both
libraries take the same steps.
"""

from __future__ import annotations

from typing import Any

import diffrax_cnf
import frame

STEPS = {"method": "rk4", "options": {"step_size": 0.05}}


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    return diffrax_cnf.trained(ode, seed, iterations, STEPS)


if __name__ == "__main__":
    frame.main(train, 50, __doc__)
