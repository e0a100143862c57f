"""The published canonical view: a confidence-weighted mean of the predictions, with averaged slopes against the anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.focal_fit import fit_focal

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PublishedCanonical:
    """One image's canonical data; H and W are multiples of the subsample."""

    anchor_depth: Floats  # (h * w,)
    offset: Floats  # (H, W) depth relative to the anchor
    focal: float  # pixels
    height: int
    width: int
    subsample: int


def published_canonical(
    predictions: Sequence[tuple[Floats, Floats]],  # per partner: points (H, W, 3) in the image's own frame, confidence (H, W)
    subsample: int = 8,
) -> PublishedCanonical:
    """Average all predictions of one image; scales are not equalised."""
    X = np.stack([points for points, _ in predictions])  # (n, H, W, 3)
    c = np.stack([conf for _, conf in predictions]) - 0.999  # (n, H, W)
    height, width = c.shape[1:]
    if height % subsample or width % subsample:
        raise ValueError(f"image of {height} x {width}; the published canonical view needs multiples of {subsample}")
    total = c.sum(0)
    canon = (c[..., None] * X).sum(0) / total[..., None]
    rows = np.arange(height) // subsample * subsample + subsample // 2
    columns = np.arange(width) // subsample * subsample + subsample // 2
    anchor = np.ix_(rows, columns)
    at_anchor = X[:, rows[:, None], columns[None, :]]
    rho = np.maximum(np.linalg.norm(X[..., :2] - at_anchor[..., :2], axis=-1), 1e-8)
    theta = np.arctan((X[..., 2] - np.maximum(at_anchor[..., 2], np.finfo(np.float32).eps)) / rho)
    slope = (c * theta).sum(0) / total
    offset = 1.0 + rho.mean(0) * np.tan(slope) / canon[..., 2][anchor]
    xy = np.stack(np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2), axis=-1)
    focal = fit_focal(canon.reshape(-1, 3), xy.reshape(-1, 2), np.ones(height * width), max(height, width))
    middle = subsample // 2
    return PublishedCanonical(canon[middle::subsample, middle::subsample, 2].ravel(), offset, focal, height, width, subsample)
