"""The sun and eight planets as nine point masses, in astronomical units and years.

Elements at J2000 (mean ecliptic and equinox): E. M. Standish, "Keplerian Elements for Approximate Positions of the
Major Planets", JPL, table 1 (1800 to 2050).  Reciprocal masses: Explanatory Supplement to the Astronomical Almanac.
The earth is the barycentre of earth and moon.
"""

from __future__ import annotations

import numpy as np

from stepsmith.integrators.problems.nbody.kepler import eccentric_anomaly
from stepsmith.integrators.problems.nbody.newtonian import pairwise_rhs

#: a (au), e, inclination, mean longitude, longitude of perihelion, of the ascending node (degrees), sun's mass over own
PLANETS = {
    "mercury": (0.38709927, 0.20563593, 7.00497902, 252.25032350, 77.45779628, 48.33076593, 6023600.0),
    "venus": (0.72333566, 0.00677672, 3.39467605, 181.97909950, 131.60246718, 76.67984255, 408523.71),
    "earth": (1.00000261, 0.01671123, -0.00001531, 100.46457166, 102.93768193, 0.0, 328900.56),
    "mars": (1.52371034, 0.09339410, 1.84969142, -4.55343205, -23.94362959, 49.55953891, 3098708.0),
    "jupiter": (5.20288700, 0.04838624, 1.30439695, 34.39644051, 14.72847983, 100.47390909, 1047.3486),
    "saturn": (9.53667594, 0.05386179, 2.48599187, 49.95424423, 92.59887831, 113.66242448, 3497.898),
    "uranus": (19.18916464, 0.04725744, 0.77263783, 313.23810451, 170.95427630, 74.01692503, 22902.98),
    "neptune": (30.06992276, 0.00859048, 1.77004347, -55.12002969, 44.96476227, 131.78422574, 19412.24),
}
#: Gauss's constant, squared, for years of 365.25 days
G = (0.01720209895 * 365.25) ** 2
BODIES = 1 + len(PLANETS)
MASSES = np.array([1.0, *(1.0 / row[-1] for row in PLANETS.values())])

rhs = pairwise_rhs(BODIES, 3, __name__)


def start() -> np.ndarray:
    """The state at J2000, (54,): positions body by body, then velocities; the centre of mass is at rest."""
    x, v = np.zeros((BODIES, 3)), np.zeros((BODIES, 3))
    for k, (a, e, *degrees, ratio) in enumerate(PLANETS.values(), start=1):
        tilt, longitude, perihelion, node = np.radians(degrees)
        anomaly = eccentric_anomaly(np.array([(longitude - perihelion) % (2.0 * np.pi)]), e)[0]
        root, motion = np.sqrt(1.0 - e * e), np.sqrt(G * (1.0 + 1.0 / ratio) / a**3)
        speed = a * motion / (1.0 - e * np.cos(anomaly))
        turn = _about_z(node) @ _about_x(tilt) @ _about_z(perihelion - node)
        x[k] = turn @ [a * (np.cos(anomaly) - e), a * root * np.sin(anomaly), 0.0]
        v[k] = turn @ [-speed * np.sin(anomaly), speed * root * np.cos(anomaly), 0.0]
    share = MASSES / MASSES.sum()
    return np.concatenate([(x - share @ x).ravel(), (v - share @ v).ravel()])


def _about_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
