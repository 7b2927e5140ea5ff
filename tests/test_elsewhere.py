"""Names of other libraries: what `did you mean` makes of them, in Python and on the command line."""

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers import resolve
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.core import elsewhere
from stepsmith.integrators.core.elsewhere import CONTROLLERS, METHODS
from stepsmith.integrators.methods import tableaus
from stepsmith.train.cli import program

SAME = {
    "RK45": "dopri5", "RK23": "bs32", "DOP853": "dop853", "Radau": "radau5", "BDF": "bdf", "Rodas5P": "rodas5p",
    "Vern7": "vern7", "Rosenbrock23": "rosenbrock23", "BS3": "bs32", "DP8": "dop853", "rk23": "bs32",
    "ARKODE_BOGACKI_SHAMPINE_4_2_3": "bs32", "ARKODE_KVAERNO_7_4_5": "kvaerno5", "Tsit5()": "tsit5",
    "Heun": "adaptive_heun",
}  # fmt: skip
NEAREST = {
    "LSODA": "bdf", "euler": "adaptive_heun", "rk4": "dopri5", "TRBDF2": "rosenbrock23", "Kvaerno3": "esdirk43",
    "KenCarp4": "esdirk43", "CVODE": "bdf", "ROCK2": "rkc", "VelocityVerlet": "leapfrog",
}  # fmt: skip


def test_every_answer_is_a_name_here():
    assert {found.here for found in METHODS.values()} <= set(methods.names())
    assert {found.here for found in CONTROLLERS.values()} <= set(registry.names())


@pytest.mark.parametrize(
    "name, here, same", [(n, h, True) for n, h in SAME.items()] + [(n, h, False) for n, h in NEAREST.items()]
)
def test_a_method_of_another_library(name, here, same):
    with pytest.raises(ValueError) as error:
        methods.named(name)
    said = str(error.value)
    assert f"did you mean {here!r}?" in said and said.count("did you mean") == 1
    assert (f"is {here!r} here" in said) == same and ("nearest" in said) != same


@pytest.mark.parametrize(
    "name, here",
    [
        ("I", "i"), ("PI", "pi34"), ("PID", "h312pid"), ("PIDController", "h312pid"), ("PIController", "julia_pi"),
        ("IController", "i"), ("IntegralController", "torchode"), ("ConstantStepSize", "constant"),
        ("TSADAPTDSP", "petsc_dsp"), ("SUNAdaptController_ImpGus", "impgus"), ("pi43", "pi42"),
    ],
)  # fmt: skip
def test_a_controller_of_another_library(name, here):
    with pytest.raises(ValueError, match=rf"unknown controller '{name}': did you mean '{here}'\?"):
        resolve.controller(name)


def test_what_is_near_and_not_among_the_options_is_not_offered():
    assert "nothing like it" in elsewhere.hint("method", "Radau", ["tsit5"])
    with pytest.raises(ValueError, match="explicit Runge-Kutta method 'Kvaerno5': diffrax's Kvaerno5 has nothing like"):
        tableaus.get("Kvaerno5")
    with pytest.raises(ValueError, match=r"'RK23': did you mean 'bs32'\?"):
        tableaus.get("RK23")
    assert elsewhere.hint("family", "RK45", ["dopri5"]) == ""


def test_a_solve_in_torch_lists_the_methods_on_a_grid_too():
    torch = pytest.importorskip("torch")
    from stepsmith.neural import torchdiffeq

    y0, t, net = torch.ones(2, 1), torch.tensor([0.0, 1.0]), torch.nn.Linear(1, 1)

    class Field(torch.nn.Module):
        def forward(self, t, y):
            return net(y)

    for call in (ss.neural.odeint, torchdiffeq.odeint, lambda f, y0, t, method: ss.neural.NeuralODE(f, method=method)):
        with pytest.raises(ValueError, match="unknown .*'foo': known: .*adaptive_heun,.* euler,.* rk4, .*tsit5"):
            call(Field(), y0, t, method="foo")
        with pytest.raises(ValueError, match=r"'RK4': did you mean 'rk4'\? known"):
            call(Field(), y0, t, method="RK4")
        with pytest.raises(ValueError, match=r"did you mean 'dopri5'\? SciPy's RK45 is 'dopri5' here"):
            call(Field(), y0, t, method="RK45")


def test_in_python_and_on_the_command_line(capsys):
    problem = ss.problems.make("lotka_volterra")
    with pytest.raises(ValueError, match=r"did you mean 'dopri5'\? SciPy's RK45 is 'dopri5' here"):
        ss.solve(problem, method="RK45")
    with pytest.raises(ValueError, match=r"did you mean 'pi34'\?"):
        ss.solve(problem, controller="PI")
    for args in (["tune", "lorenz", "--method", "Tsit6"], ["tune", "lorenz", "--method", "TRBDF2"]):
        with pytest.raises(SystemExit) as stop:
            program.main(args)
        err = capsys.readouterr().err
        assert stop.value.code == 2 and err.count("\n") == 1 and "did you mean" in err


def test_solvers_and_controllers_as_objects():
    from scipy.integrate import RK45

    with pytest.raises(ValueError, match=r"did you mean 'dopri5'\?"):
        methods.named(RK45)

    class PIDController:
        pass

    with pytest.raises(ValueError, match=r"not a controller: .*did you mean 'h312pid'\?"):
        ss.solve(ss.problems.make("lotka_volterra"), controller=PIDController())


def test_what_is_called_the_same_has_scipys_weights():
    from scipy.integrate import RK23, RK45

    for theirs in (RK23, RK45):
        ours = tableaus.get(METHODS[theirs.__name__].here)
        np.testing.assert_allclose(np.asarray(ours.b, float)[: len(theirs.B)], theirs.B, rtol=1e-15)
        np.testing.assert_allclose(np.asarray(ours.c, float)[: len(theirs.C)], theirs.C, rtol=1e-15)


@pytest.mark.parametrize("name", ["Tsit5", "Dopri5", "Dopri8", "Bosh3", "Heun"])
def test_what_is_called_the_same_has_diffraxs_weights(name):
    diffrax = pytest.importorskip("diffrax")
    theirs, ours = getattr(diffrax, name).tableau, tableaus.get(METHODS[name].here)
    assert METHODS[name].same
    b = np.asarray(ours.b, float)
    np.testing.assert_allclose(np.asarray(theirs.b_sol)[: len(b)], b[: len(theirs.b_sol)], atol=1e-12)
