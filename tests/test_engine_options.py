"""Options of the engine: wrong types and values are refused with the option's name, what it got and what it takes, by
every host.
"""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError

PROBLEM = ss.problems.make("lotka_volterra", seed=0)
BATCH = ss.problems.sample("lotka_volterra", n=3, seed=0)

HOSTS = {
    "single": lambda **options: ss.solve(PROBLEM, **options),
    "ensemble": lambda **options: ss.solve_ensemble(BATCH, **options),
    "cuda": lambda **options: ss.solve_ensemble(BATCH, device="cuda", **options),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "option, value, takes",
    [
        *(
            ("max_steps", v, "a whole number of at least 1")
            for v in (True, 1.5, 1.0, np.nan, np.inf, "5", None, 0, -1, [5])
        ),
        *(("first_step", v, "a positive finite number") for v in (True, [0.1], "x", np.nan, np.inf, 0.0, -1)),
        ("first_step", 1e300, "not exceed the span"),
        *(("rtol", v, "a real number or an array of them") for v in (True, "x", None, 1j, [[1e-3], [1e-3, 1e-4]])),
        ("rtol", 1e300, "at most 10,"),
        ("rtol", (1e-3,) * 5, r"a number or have shape"),
        ("atol", (1e-3,) * 5, r"a number or have shape"),
        *(("atol", v, "a real number or an array of them") for v in (False, "x", object())),
        ("t_eval", True, "a real number or an array of them"),
        ("t_eval", [3.0, 1.0], "ordered"),
        *(("method", v, "") for v in ([], 5, None, {}, "tsit6")),
    ],
)
def test_refused(host, option, value, takes):
    words = "unknown method|method must be" if option == "method" else rf"{option} must (be )?{takes}"
    with pytest.raises((OptionError, ValueError), match=words) as found:
        HOSTS[host](**{option: value})
    assert isinstance(found.value, ValueError)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "option, nearest", [("max_stepss", "max_steps"), ("first_stp", "first_step"), ("t_evals", "t_eval")]
)
def test_unknown_options_name_the_nearest(host, option, nearest):
    with pytest.raises(OptionError, match=rf"has no option '{option}': did you mean '{nearest}'\?"):
        HOSTS[host](**{option: 1})


def test_options_of_another_host():
    with pytest.raises(OptionError, match="threads belongs to device 'cpu'"):
        ss.solve_ensemble(BATCH, device="cuda", threads=2)
    with pytest.raises(OptionError, match="block belongs to device 'cuda'"):
        ss.solve_ensemble(BATCH, block=64)
    with pytest.raises(OptionError, match="unknown device 'gpu'"):
        ss.solve_ensemble(BATCH, device="gpu")
    with pytest.raises(OptionError, match="log must be True or False, got 1"):
        ss.solve(PROBLEM, log=1)
    for threads in (1.5, True, 0, "2"):
        with pytest.raises(OptionError, match="threads must be a whole number of at least 1 or None"):
            ss.solve_ensemble(BATCH, threads=threads)
    for block in (0, 2000, 64.0):
        with pytest.raises(OptionError, match="block must be a whole number from 1 to 1024"):
            ss.solve_ensemble(BATCH, device="cuda", block=block)


def test_whole_numbers_of_numpy_are_whole_numbers():
    sol = ss.solve(PROBLEM, "bs32", max_steps=np.int64(3), first_step=np.float32(1e-3))
    assert not sol.success and sol.stats.naccept + sol.stats.nreject == 3
