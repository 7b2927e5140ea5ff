"""Names of the methods that ship, and the folder of each: the one registry line of a new method's file."""

PLACES = {
    "bs32": "explicit", "dopri5": "explicit", "tsit5": "explicit", "dop853": "explicit",
    "hermite4": "nbody", "hermite4_pec": "nbody", "leapfrog": "nbody", "composition8": "nbody",
    "rodas5p": "rosenbrock", "ros3prw": "rosenbrock", "ros34pw2": "rosenbrock", "kvaerno5": "esdirk",
    "esdirk43": "esdirk",
    "radau5": "radau",
}  # fmt: skip
