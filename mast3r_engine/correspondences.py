"""Pixel correspondences between two views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairMatches:
    """Matches of the unordered pair (i, j), network pixels (x, y), pixel centres at integers; sorted, without duplicates."""

    i: int
    j: int
    xy_i: NDArray[np.int64]  # (M, 2)
    xy_j: NDArray[np.int64]  # (M, 2)
    conf: NDArray[np.float32]  # (M,) match confidence, scale differs between checkpoints

    def __len__(self) -> int:
        return len(self.conf)
