"""A person's own file: Duffing's oscillator, whose forcing and start vary."""

from stepsmith.integrators.vecmath import cos

import stepsmith as ss


def duffing(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -p[0] * y[1] + y[0] - y[0] * y[0] * y[0] + p[1] * cos(1.2 * t)


PROBLEM = ss.Problem(duffing, [0.5, 0.0], (0.0, 10.0), [0.3, 0.2], name="duffing")
FAMILY = ss.family(PROBLEM, vary={"p[1]": (0.1, 0.3), "y0": ("relative", 0.2)}, wanted_error=1e-5, quiet=True)
