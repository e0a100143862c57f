"""The canonical view of an image: one point map out of all predictions of it, accumulated online.

Nothing of a prediction is kept but running sums, O(H W) memory for any number of partners. The predictions' scales are
equalised first, by the robust mean of the logarithm of their depths, so that the result does not depend on their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.focal_fit import fit_focal

Floats = NDArray[np.float64]

CONF_OFFSET = 0.999  # weights are C - 0.999
STEEPEST = np.radians(85.0)  # beyond this slope against the anchor an averaged angle says nothing about depth
LOG_CLIP = 1.5  # depths further than this factor's logarithm from the median hardly move a prediction's scale


@dataclass(frozen=True)
class CanonicalView:
    """What all predictions of an image agree on, in the image's own camera frame (OpenCV axes).

    `depth` is positive everywhere; where nothing usable was predicted, `conf` is 1. Anchors are the pixels in the
    middle of the blocks of `subsample` pixels; a pixel's depth is its anchor's depth times `offset`.
    """

    points: NDArray[np.float32]  # (H, W, 3)
    conf: NDArray[np.float32]  # (H, W) network confidence, > 1
    offset: NDArray[np.float32]  # (H, W) depth relative to the anchor's
    focal: float  # pixels
    principal_point: tuple[float, float]  # pixels (x, y)
    subsample: int
    depth_sigma: NDArray[np.float32] | None = None  # (H, W) of the depth's logarithm where it was measured, else NaN

    @property
    def height(self) -> int:
        return int(self.conf.shape[0])

    @property
    def width(self) -> int:
        return int(self.conf.shape[1])

    @property
    def depth(self) -> NDArray[np.float32]:  # (H, W)
        return self.points[..., 2]

    @property
    def anchor_rows(self) -> NDArray[np.int64]:  # (h,) pixel rows of the anchors
        return anchor_positions(self.height, self.subsample)

    @property
    def anchor_columns(self) -> NDArray[np.int64]:  # (w,) pixel columns of the anchors
        return anchor_positions(self.width, self.subsample)


def anchor_positions(length: int, subsample: int) -> NDArray[np.int64]:  # (ceil(length / subsample),)
    """Middle pixel of every block along one axis; the last block may be shorter."""
    return np.minimum(np.arange(0, length, subsample) + subsample // 2, length - 1)


class CanonicalAccumulator:
    """Gathers the predictions of one image, each from a pass in which the image is the first view."""

    def __init__(self, height: int, width: int, subsample: int) -> None:
        self._subsample = subsample
        rows = np.minimum(np.arange(height) // subsample, (height - 1) // subsample)
        columns = np.minimum(np.arange(width) // subsample, (width - 1) // subsample)
        self._anchor = np.ix_(anchor_positions(height, subsample)[rows], anchor_positions(width, subsample)[columns])
        self._passes = 0
        self._log_scale_sum = 0.0
        self._sum_c = np.zeros((height, width))
        self._sum_cc = np.zeros((height, width))
        self._sum_cX = np.zeros((height, width, 3))
        self._sum_angle = np.zeros((height, width))
        self._sum_rho = np.zeros((height, width))

    def add(
        self,
        pts3d: NDArray[np.floating],  # (H, W, 3) the image's points in its own frame
        conf: NDArray[np.floating],  # (H, W)
    ) -> None:
        """Add one prediction; pixels that are not finite or not in front of the camera are left out."""
        X = np.asarray(pts3d, np.float64)
        usable = np.isfinite(X).all(-1) & (X[..., 2] > 0) & np.isfinite(conf)
        if not usable.any():
            return
        log_scale = _robust_log_scale(X[..., 2][usable])
        X = np.where(usable[..., None], X, 0.0) * np.exp(-log_scale)
        c = np.where(usable, np.maximum(np.nan_to_num(np.asarray(conf, np.float64)) - CONF_OFFSET, 1e-3), 0.0)
        self._passes += 1
        self._log_scale_sum += log_scale
        self._sum_c += c
        self._sum_cc += c * c
        self._sum_cX += c[..., None] * X
        self._add_slopes(X, c, usable)

    def finish(self) -> CanonicalView:
        """Return the canonical view; without any usable prediction a flat one at depth 1 with confidence 1."""
        weight = np.maximum(self._sum_c, 1e-12)
        scale = np.exp(self._log_scale_sum / max(self._passes, 1))
        points = self._sum_cX / weight[..., None] * scale
        seen = self._sum_c > 0
        height, width = seen.shape
        centre = ((width - 1) / 2, (height - 1) / 2)
        xy = np.stack(np.meshgrid(np.arange(width) - centre[0], np.arange(height) - centre[1]), axis=-1)
        step = max(1, min(height, width) // 64)  # a focal length needs a few thousand pixels, not all
        sample = (slice(None, None, step), slice(None, None, step))
        focal = fit_focal(
            points[sample].reshape(-1, 3), xy[sample].reshape(-1, 2), self._sum_c[sample].ravel(), max(height, width)
        )
        points = _fill_unseen(points, seen, xy, focal)
        conf = np.where(seen, self._sum_cc / weight + CONF_OFFSET, 1.0)
        offset = self._offsets(points, scale)
        return CanonicalView(
            points.astype(np.float32),
            conf.astype(np.float32),
            offset.astype(np.float32),
            focal,
            centre,
            self._subsample,
        )

    def _add_slopes(self, X: Floats, c: Floats, usable: NDArray[np.bool_]) -> None:
        at_anchor = X[self._anchor]
        rho = np.maximum(np.hypot(X[..., 0] - at_anchor[..., 0], X[..., 1] - at_anchor[..., 1]), 1e-8)
        both = usable & usable[self._anchor]
        self._sum_angle += np.where(both, c * np.arctan((X[..., 2] - at_anchor[..., 2]) / rho), 0.0)
        self._sum_rho += np.where(both, rho, 0.0)

    def _offsets(self, points: Floats, scale: float) -> Floats:  # (H, W)
        """Depth relative to the anchor from averaged slopes; from the mean depths where the slope is too steep."""
        depth = points[..., 2]
        ratio = depth / depth[self._anchor]
        angle = self._sum_angle / np.maximum(self._sum_c, 1e-12)
        rho = self._sum_rho / max(self._passes, 1) * scale
        slanted = 1.0 + rho * np.tan(np.clip(angle, -STEEPEST, STEEPEST)) / depth[self._anchor]
        trusted = (np.abs(angle) < STEEPEST) & (slanted > 0.5 * ratio) & (slanted < 2 * ratio)
        offsets: Floats = np.where(trusted, slanted, ratio)
        return offsets


def _robust_log_scale(depth: Floats) -> float:
    log_depth = np.log(np.maximum(depth, 1e-12))
    middle = float(np.median(log_depth))
    return middle + float(np.clip(log_depth - middle, -LOG_CLIP, LOG_CLIP).mean())


def _fill_unseen(points: Floats, seen: NDArray[np.bool_], xy: Floats, focal: float) -> Floats:  # (H, W, 3)
    if seen.all():
        return points
    depth = float(np.median(points[seen][:, 2])) if seen.any() else 1.0
    rays = np.concatenate([xy / focal, np.ones((*seen.shape, 1))], axis=-1)
    return np.where(seen[..., None], points, rays * depth)
