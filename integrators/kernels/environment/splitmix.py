"""Source of the environments' counter-based generator, SplitMix64 (Steele, Lea & Flood, Fast splittable pseudorandom number
generators, OOPSLA 2014): the finaliser `mix` of a key advanced by the golden ratio.
"""

#: to stand before any function of a kernel
CONSTANTS = """import numpy as np
_U30 = np.uint64(30)
_U27 = np.uint64(27)
_U31 = np.uint64(31)
_U11 = np.uint64(11)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""

MIX = """@_inline
def mix(x):
    x = (x ^ (x >> _U30)) * _M1
    x = (x ^ (x >> _U27)) * _M2
    return x ^ (x >> _U31)


"""
