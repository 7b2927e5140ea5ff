"""`help` of the ways into a host says their options, which are those of the functions behind them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError

BEHIND = {
    "scipy": "method", "torchdiffeq": "method", "torchode": "step_size_controller", "diffrax": "step_size_controller",
    "rebound": "heartbeat",
}  # fmt: skip


@pytest.mark.parametrize("host", BEHIND)
@pytest.mark.parametrize("name", ["pi34", "lorenz96"])
def test_a_signature_lists_the_options_and_the_docstring_says_each(host, name):
    way = getattr(ss.controller(name), f"for_{host}")
    given = inspect.signature(way).parameters
    module = importlib.import_module(f"stepsmith.controllers.hosts.{host}")
    (_, *wanted) = inspect.signature(getattr(module, BEHIND[host])).parameters.items()
    assert list(given) == [name for name, _ in wanted]
    for name, behind in wanted:
        assert given[name].kind == behind.kind and name in way.__doc__
        if host != "torchode" or name not in ("atol", "rtol"):
            assert given[name].default == behind.default


@pytest.mark.parametrize("host", BEHIND)
def test_an_option_that_there_is_not_is_named(host):
    with pytest.raises(OptionError, match="no option 'warmstart'"):
        getattr(ss.controller("pi34"), f"for_{host}")(warmstart=True)


def test_signatures_load_no_host():
    code = (
        "import inspect, sys, stepsmith as ss; c = ss.controller('pi34');"
        "[inspect.signature(getattr(c, 'for_' + h)) for h in ('torchode', 'diffrax', 'rebound')];"
        "assert not {'torch', 'torchode', 'diffrax', 'jax', 'rebound'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
