"""One thread for every library: imported before NumPy, JAX and Numba, whose pools read the environment once.

The environment asks each library for one thread.  The process is bound to one core besides, which no library can leave,
and clocks read CPU time, which adds up all threads.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def bind() -> str:
    """Bind this process to the last core that it may use, where the system can; says what it did."""
    if not hasattr(os, "sched_setaffinity"):
        return "one thread"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"one thread on core {core}"
