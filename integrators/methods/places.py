"""Names of the methods that ship, and the folder of each: the one registry line of a new method's file."""

PLACES = {
    "bs32": "explicit", "dopri5": "explicit", "tsit5": "explicit", "dop853": "explicit",
    "adaptive_heun": "explicit", "fehlberg2": "explicit", "dopri8": "explicit",
    "hermite4": "nbody", "hermite4_pec": "nbody", "leapfrog": "nbody", "composition8": "nbody",
    "rodas5p": "rosenbrock", "ros3prw": "rosenbrock", "ros34pw2": "rosenbrock", "kvaerno5": "esdirk",
    "esdirk43": "esdirk",
    "radau5": "radau", "bdf": "multistep", "adams": "multistep",
}  # fmt: skip

#: second names, those of other packages, of methods that have a first one: the method is the same object
ALIASES = {"bosh3": "bs32"}

#: pairs that ship because torchdiffeq has them: no search tries them unasked
FOREIGN = ("adaptive_heun", "fehlberg2", "dopri8")
