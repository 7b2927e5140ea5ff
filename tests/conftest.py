"""Settings of the whole suite: one numeric thread a process, no display, compiled kernels shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before NumPy or torch is imported: with several workers on few cores, more threads are in each other's way
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Numba chooses between compiler and CUDA simulator once, at import: its tests get a process of their own
collect_ignore = [] if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else ["cuda_sim"]


@pytest.fixture
def tmp_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty kernel cache for this test and the processes that it starts.

    All other tests share the user's own cache, so that a kernel is compiled once and not once a test.
    """
    folder = tmp_path / "kernels"
    monkeypatch.setenv("STEPSMITH_CACHE_DIR", str(folder))
    return folder
