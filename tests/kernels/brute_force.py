"""What the op must find, written as plainly as can be, and sets to find it in."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZES = [1, 2, 129, 130]


def unit(count: int, D: int, seed: int) -> Tensor:
    rows = torch.randn(count, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def brute_force(a: Tensor, b: Tensor) -> NDArray[np.int64]:
    """The rule, literally: float64 products summed from the first component on; argmax takes the first of equals."""
    scores = np.zeros((len(a), len(b)))
    for d in range(a.shape[1]):
        scores += a[:, d, None].double().numpy() * b[None, :, d].double().numpy()
    return scores.argmax(axis=1)


def brute_walk(a: Tensor, b: Tensor, starts: list[int], iterations: int) -> set[tuple[int, int]]:
    """One path at a time, as the method is described."""
    f, g = brute_force(a, b), brute_force(b, a)
    ends = set()
    for start in starts:
        p, last_q = start, -1
        for _ in range(iterations):
            q = int(f[p])
            if q == last_q:
                ends.add((p, q))
                break
            back = int(g[q])
            if back == p:
                ends.add((p, q))
                break
            p, last_q = back, q
    return ends


def pairs(found: tuple[Tensor, Tensor]) -> set[tuple[int, int]]:
    return set(zip(found[0].tolist(), found[1].tolist(), strict=True))
