"""JapaneseVowels: nine men say /ae/; which of them was it?  12 channels, 7 to 29 frames.

M. Kudo, J. Toyama, M. Shimbo, Multidimensional curve classification using passing-through regions, Pattern Recognition
Letters 20:1103-1111, 1999; UCI Machine Learning Repository, doi 10.24432/C5NS47 (CC BY 4.0): coefficients of linear
prediction cepstra of 640 utterances.  Read from the copy that sktime (BSD 3-Clause) ships.
"""

from __future__ import annotations

import numpy as np

from .dataset import Series, Split, draw_split, standardised
from .store import Arrays, cached, package

DIGEST = "a4a604a7de730ead348c47f94d63b20b05a76fa13cb96c2cc00e2781a34a9651"
SEED = 640
TRAIN = 270
CHANNELS = tuple(f"lpc{i}" for i in range(1, 13))


def japanese_vowels() -> Series:
    """times (640, 29) in frames from 0, values and mask (640, 29, 12), 9 classes.

    The published test part (370 utterances) is the test; of the 270 others, 30 a speaker, 6 a speaker are for
    validation.
    """
    raw = cached("japanese_vowels", DIGEST, "sktime", _parse)
    count, labels = raw["count"], raw["labels"]
    n, most = len(count), int(count.max())
    real = np.arange(most) < count[:, None]
    values = np.zeros((n, most, len(CHANNELS)))
    values[real] = raw["frames"]
    mask = np.broadcast_to(real[:, :, None], values.shape).copy()
    first = draw_split(TRAIN, SEED, 0.2, 0.0, labels[:TRAIN])
    split = Split(first.train, first.validation, np.arange(TRAIN, n))
    values, centre, scale = standardised(values, mask, split.train)
    times = np.where(real, np.arange(most, dtype=np.float64), 0.0)
    return Series("japanese_vowels", times, "frames", values, mask, count, CHANNELS, centre, scale, split, labels, 9)


def _parse() -> Arrays:
    load = package("sktime.datasets", "japanese_vowels", "sktime").load_japanese_vowels
    frames, count, labels = [], [], []
    for part in ("train", "test"):
        table, speakers = load(split=part, return_type="nested_univ")
        for row in table.itertuples(index=False):
            frames.append(np.stack([channel.to_numpy(np.float64) for channel in row], axis=1))
            count.append(len(frames[-1]))
        labels += [int(s) - 1 for s in speakers]
    return {"frames": np.concatenate(frames), "count": np.array(count, np.int64), "labels": np.array(labels, np.int64)}
