"""The kernel, its step and its decision compile for CUDA (no GPU needed); one clear error where there is none; a GPU
equals the CPU.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import NAMESPACE
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.kernels import cuda as kernels

MISSING = cuda.missing()


def has_libnvvm() -> bool:
    from numba.cuda.cudadrv import nvvm

    return nvvm.is_available()


needs_nvvm = pytest.mark.skipif(
    not has_libnvvm(),
    reason="libNVVM is not installed: pip install nvidia-cuda-nvcc-cu12 (wheels for Linux), or set CUDA_HOME",
)


def two_layers() -> Learned:
    """Tier 2 observation, 8 tanh units, residual and threshold on a law with the smooth limiter."""
    return Learned.random(Decision(law="h211b"), (8,), rng=0, scale=1.0)


def every_activation() -> Learned:
    """A layer of each activation that has a formula of its own."""
    rng, d = np.random.default_rng(4), Decision(("log_err", "log_ratio_1"), "pi34")
    sizes = (2, 4, 4, 4, 4, 4, 2)
    acts = ("elu", "silu", "gelu", "gelu_tanh", "leaky_relu(0.1)", "linear")
    shapes = zip(sizes[1:], sizes[:-1], acts, strict=True)
    return Learned(d, [(rng.normal(size=(b, a)), rng.normal(size=b), act) for b, a, act in shapes])


CASES = {
    "law": ("lorenz", "tsit5", lambda: ss.controller("h211b")),
    "learned": ("three_body", "tsit5", two_layers),
    "activations": ("lorenz", "tsit5", every_activation),
}


def module(case: str):
    family, method, controller = CASES[case]
    return cuda.ensemble_kernel(ss.problems.sample(family, n=1, seed=0), methods.get(method), controller()).module


def functions(ptx: str) -> dict[str, str]:
    """Kind (".entry" or ".func") of each function that a PTX text defines and shows, by name."""
    found = re.findall(r"^\.visible (\.entry|\.func)\s+(?:\([^)]*\)\s*)?(\w+)\(", ptx, re.M)
    return {name: kind for kind, name in found}


def assembler() -> str | None:
    """ptxas of the wheel, or of a toolkit on the path."""
    try:
        wheel = metadata.distribution(kernels.WHEEL).locate_file("nvidia/cuda_nvcc/bin/ptxas")
    except metadata.PackageNotFoundError:
        return shutil.which("ptxas")
    return str(wheel)


@needs_nvvm
@pytest.mark.parametrize("case", CASES)
def test_step_decision_and_kernel_compile(case, tmp_path):
    mod = module(case)
    pieces = (
        ("attempt", kernels.STEP, ".func"),
        ("decide", kernels.DECISION, ".func"),
        ("run", kernels.SIGNATURE, ".entry"),
    )
    for name, signature, kind in pieces:
        text = kernels.ptx(getattr(mod, name), signature, kernel=kind == ".entry", cc=(8, 0))
        assert ".target sm_80" in text
        shown = functions(text)
        assert list(shown.values()) == [kind], shown
        assert f"{len(name)}{name}" in next(iter(shown))  # the mangled name holds it
        assert "fma.rn.f64" in text
        assert ".extern .func" not in text  # nothing is left to the linker
    ptxas = assembler()
    if ptxas is not None:  # the kernel down to machine code: registers, no more local memory than a block
        (tmp_path / "run.ptx").write_text(text)
        command = [ptxas, "-v", "-arch=sm_80", str(tmp_path / "run.ptx"), "-o", str(tmp_path / "run.cubin")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        frame = int(re.search(r"(\d+) bytes stack frame", done.stderr)[1])
        assert frame <= 8 * mod.SIZE


@needs_nvvm
def test_elementary_functions_are_the_devices():
    """The Lorenz step needs no square root but the norm's; the network's tanh and the law's exp, log are inlined from
    libdevice.
    """
    text = kernels.ptx(module("law").attempt, kernels.STEP)
    assert text.count("sqrt.rn.f64") == 1
    assert set(kernels.NAMESPACE) == set(NAMESPACE)


@pytest.mark.skipif(MISSING is None, reason="there is a GPU")
def test_no_gpu_is_one_clear_error():
    batch = ss.problems.sample("lorenz", n=2, seed=0)
    with pytest.raises(
        RuntimeError,
        match="device 'cuda' cannot be used: (no usable NVIDIA driver|libNVVM is not found|numba.cuda.is_av)",
    ):
        ss.solve_ensemble(batch, "tsit5", "pi34", device="cuda")
    with pytest.raises(ValueError, match="max_steps"):  # bad input is named first
        ss.solve_ensemble(batch, "tsit5", "pi34", device="cuda", max_steps=0)


@pytest.mark.skipif(sys.platform != "linux", reason="the wheel's layout on Linux")
def test_toolkit_of_the_wheel_is_found_and_cuda_home_wins(tmp_cache):
    code = "import os; from stepsmith.integrators.kernels import cuda; print(os.environ.get('CUDA_HOME'))"
    env = {k: v for k, v in os.environ.items() if k not in ("CUDA_HOME", "CUDA_PATH")}
    try:
        version = metadata.version(kernels.WHEEL)
    except metadata.PackageNotFoundError:
        pytest.skip(f"the wheel {kernels.WHEEL} is not installed")

    def home(**more):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**env, **more}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    expected = tmp_cache / f"cuda-{version}"
    assert home() == str(expected) and home() == str(expected)
    assert (expected / "nvvm" / "lib64" / "libnvvm.so.4").exists()
    assert (expected / "nvvm" / "libdevice" / "libdevice.10.bc").exists()
    assert home(CUDA_HOME="/elsewhere") == "/elsewhere"


@pytest.mark.gpu
@pytest.mark.skipif(MISSING is not None, reason=f"no GPU: {MISSING}")
@pytest.mark.parametrize("case", CASES)
def test_gpu_equals_cpu(case):
    family, method, make = CASES[case]
    batch, controller = ss.problems.sample(family, n=100, seed=3), make()
    gpu = cuda.solve_ensemble(batch, method, controller, 1e-5, 1e-8)
    cpu = solve_ensemble(batch, method, controller, 1e-5, 1e-8)
    np.testing.assert_array_equal(gpu.status, cpu.status)
    # chaotic, and decisions may turn on a rounding error: most trajectories take the same steps and end at the same
    # place
    equal = gpu.stats.naccept == cpu.stats.naccept
    assert equal.mean() > 0.9
    error = np.abs(gpu.y - cpu.y).max(axis=1) / np.abs(cpu.y).max(axis=1)
    assert np.median(error[equal]) < 1e-8
