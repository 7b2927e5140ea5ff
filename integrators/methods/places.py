"""Names of the methods that ship, and the folder of each: the one registry line of a new method's file."""

PLACES = {
    "bs32": "explicit", "dopri5": "explicit", "tsit5": "explicit", "dop853": "explicit",
    "bs54": "explicit", "vern6": "explicit", "vern7": "explicit", "vern8": "explicit", "vern9": "explicit",
    "fehlberg45": "explicit", "adaptive_heun": "explicit", "fehlberg2": "explicit", "dopri8": "explicit",
    "hermite4": "nbody", "hermite4_pec": "nbody", "leapfrog": "nbody", "composition8": "nbody",
    "dprkn6": "nystrom", "dprkn12": "nystrom",
    "rodas5p": "rosenbrock", "ros3prw": "rosenbrock", "ros34pw2": "rosenbrock", "rosenbrock23": "rosenbrock",
    "kvaerno5": "esdirk",
    "esdirk43": "esdirk",
    "radau5": "radau", "bdf": "multistep", "adams": "multistep",
    "rkc": "stabilised", "gbs": "extrapolation",
}  # fmt: skip

#: second names, those of other packages, of methods that have a first one: the method is the same object
ALIASES = {"bosh3": "bs32", "heun_euler": "adaptive_heun"}

#: pairs that ship because torchdiffeq has them
FOREIGN = ("adaptive_heun", "fehlberg2", "dopri8")

#: methods that no search tries unasked: pairs beside which others cost less at every error, or about as much; explicit
#: methods that are no pairs, each of which `docs/methods.md` says when to take
UNASKED = ("vern6", "vern7", "fehlberg45", *FOREIGN, "adams", "rkc", "gbs")
