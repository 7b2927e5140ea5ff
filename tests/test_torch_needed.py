"""Without torch whatever needs it says how to install it."""

import subprocess
import sys

import pytest

BLOCKED = "import sys; sys.modules['torch'] = None\nimport stepsmith as ss, gymnasium as gym\n"


@pytest.mark.parametrize(
    "code",
    [
        "ss.neural.odeint",
        "ss.flows.sample",
        "ss.load_controller('regularization')",
        "gym.make('stepsmith/Regularization-v0')",
    ],
)
def test_torch_is_asked_for_by_the_command_that_installs_it(code):
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ModuleNotFoundError: stepsmith.neural")
    assert last.endswith("pip install 'stepsmith[neural]'")


def test_the_rest_works_without_torch():
    code = "print(gym.make('stepsmith/SteadyState-v0').reset(seed=0)[0].shape, ss.load_controller('steppo').name)"
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "(15,)"
