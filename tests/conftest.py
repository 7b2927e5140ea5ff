"""Settings of the whole suite: one numeric thread a process, no display, compiled kernels shared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# before NumPy or torch is imported: with several workers on few cores, more threads are in each other's way
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("STEPSMITH_QUIET", "1")  # no word of compiling: a cold cache changes no output

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # where its scripts find what they share

# Numba chooses between compiler and CUDA simulator once, at import: its tests get a process of their own
collect_ignore = [] if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else ["cuda_sim"]


#: beginnings of the names of files that train, compile many kernels or start many processes
SLOW = (
    "test_acceptance", "test_array", "test_batches", "test_bench_run", "test_cache", "test_captured", "test_cli",
    "test_compare", "test_compile", "test_controller_file", "test_cuda", "test_demo", "test_digest", "test_ensemble",
    "test_env", "test_evolution", "test_examples", "test_export", "test_extending", "test_families", "test_family",
    "test_fit", "test_fused", "test_fuzz", "test_hermite", "test_host_diffrax", "test_host_scipy", "test_host_torch",
    "test_hosts", "test_implicit", "test_jacobian",
    "test_kernel", "test_lanes", "test_learned", "test_lift", "test_machines", "test_moved", "test_nbody",
    "test_neural",
    "test_newton", "test_not_fsal", "test_oracle", "test_own", "test_packaging", "test_paper", "test_pool",
    "test_problems", "test_processes", "test_reference", "test_reward", "test_rhs", "test_rosenbrock", "test_run",
    "test_sb3", "test_scientist", "test_sensitivity", "test_solve", "test_sparse", "test_sparsity", "test_spread",
    "test_steps",
    "test_stiff", "test_styles", "test_suites", "test_sweep", "test_tableaus_implicit", "test_tableaus_rosenbrock",
    "test_templates", "test_time", "test_train", "test_tune", "test_tutorials", "test_uncompiled", "test_vanishing",
    "test_vec",
    "test_zero_atol",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and those that bring bad input to every host."""
    for item in items:
        if item.path.name.startswith(SLOW) or item.path.parent.name == "faults":
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def tmp_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty kernel cache for this test and the processes that it starts.

    All other tests share the user's own cache, so that a kernel is compiled once and not once a test.
    """
    folder = tmp_path / "kernels"
    monkeypatch.setenv("STEPSMITH_CACHE_DIR", str(folder))
    return folder
