"""Fast reciprocal matching of two descriptor maps.

From every pixel of a coarse grid to its nearest in the other image, back to the nearest in the first, and so on until a pair is
mutual; at most ten round trips (MASt3R, arXiv:2406.09756, section 3.3). Similarity is the inner product.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.matching.described import as_map
from mast3r_engine.matching.merge import merge
from mast3r_kernels.reciprocal_match import ReciprocalSearch, UnusableDescriptorError

Indices = NDArray[np.int64]


def match(
    desc_a: NDArray[np.floating] | Tensor,  # (H, W, D)
    desc_b: NDArray[np.floating] | Tensor,  # (H', W', D)
    subsample: int = 8,
) -> tuple[Indices, Indices]:  # (M, 2), (M, 2) int64 pixels (x, y)
    """Match image a's grid of step `subsample` with all of image b; every pair is mutual over the full maps.

    Sorted by the pixel in a, then in b (row by row), each pair once. NetworkOutputError for NaN or shapes that do not fit.
    """
    a, b = as_map(desc_a, "image a"), as_map(desc_b, "image b")
    forward = MapPair(a, b, ("image a", "image b")).walk_from_a(subsample)
    idx_a, idx_b, _ = merge(*forward)
    return to_pixels(idx_a, a.shape[1]), to_pixels(idx_b, b.shape[1])


class MapPair:
    """Two descriptor maps ready to be searched from either side; indices are row by row, x + W * y."""

    def __init__(
        self,
        a: Tensor,  # (H, W, D) float32
        b: Tensor,  # (H', W', D) float32
        names: tuple[str, str],
    ) -> None:
        if a.shape[2] != b.shape[2]:
            raise NetworkOutputError(f"{names[0]} has {a.shape[2]} descriptor components and {names[1]} {b.shape[2]}")
        self._shapes = (a.shape, b.shape)
        self._device = a.device
        try:
            self._search = ReciprocalSearch(a.flatten(0, 1), b.flatten(0, 1).to(a.device), a.shape[1], b.shape[1])
        except UnusableDescriptorError as error:
            side = "ab".index(error.which)
            y, x = divmod(error.row, self._shapes[side][1])
            raise NetworkOutputError(
                f"{names[side]}: the descriptor of pixel ({x}, {y}) is not finite or beyond all measure; unit length is right"
            ) from error

    def walk_from_a(self, subsample: int) -> tuple[Indices, Indices]:
        """Mutual pairs reached from a's grid: indices in a and in b, in no particular order."""
        return self._walk(subsample, from_b=False)

    def walk_from_b(self, subsample: int) -> tuple[Indices, Indices]:
        """Mutual pairs reached from b's grid: indices in a and in b, in no particular order."""
        return self._walk(subsample, from_b=True)

    def round_trip_from_a(self, subsample: int, pixel_tol: float) -> tuple[Indices, Indices]:
        """Grid pixels of a that come back closer than `pixel_tol`, each with its nearest in b."""
        return self._round_trip(subsample, pixel_tol, from_b=False)

    def round_trip_from_b(self, subsample: int, pixel_tol: float) -> tuple[Indices, Indices]:
        """Grid pixels of b that come back closer than `pixel_tol`: their nearest in a, and they."""
        idx_b, idx_a = self._round_trip(subsample, pixel_tol, from_b=True)
        return idx_a, idx_b

    def _walk(self, subsample: int, from_b: bool) -> tuple[Indices, Indices]:
        idx_a, idx_b = self._search.walk(self._grid(subsample, from_b), from_b)
        return idx_a.cpu().numpy(), idx_b.cpu().numpy()

    def _round_trip(self, subsample: int, pixel_tol: float, from_b: bool) -> tuple[Indices, Indices]:
        starts = self._grid(subsample, from_b)
        there = self._search.nearest(starts, from_b)
        back = self._search.nearest(there, not from_b)
        W = self._shapes[from_b][1]
        dx, dy = back % W - starts % W, back // W - starts // W
        near = dx * dx + dy * dy < pixel_tol * pixel_tol
        return starts[near].cpu().numpy(), there[near].cpu().numpy()

    def _grid(self, subsample: int, from_b: bool) -> Tensor:
        H, W = self._shapes[from_b][:2]
        return start_grid(H, W, subsample).to(self._device)


def start_grid(H: int, W: int, subsample: int) -> Tensor:
    """Indices (n,) int64, ascending, of the grid x, y = S//2, S//2 + S, …; empty when the image is smaller than S//2 + 1."""
    y = torch.arange(subsample // 2, H, subsample) if subsample // 2 < H else torch.zeros(0, dtype=torch.int64)
    x = torch.arange(subsample // 2, W, subsample) if subsample // 2 < W else torch.zeros(0, dtype=torch.int64)
    return (y[:, None] * W + x[None, :]).flatten()


def to_pixels(
    indices: Indices,  # (M,)
    W: int,
) -> Indices:  # (M, 2) pixels (x, y)
    """Row-by-row indices to pixels."""
    return np.stack([indices % W, indices // W], axis=-1)
