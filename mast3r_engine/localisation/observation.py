"""What one symmetric inference says about a reference and a query: matches, depths and two point maps in each other's frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PointMapSamples:
    """A grid of pixels of one view, and their points in its own frame and, predicted independently, in the partner's frame."""

    xy: Floats  # (G, 2) network pixels
    own: Floats  # (G, 3) in the view's own camera frame
    in_partner: Floats  # (G, 3) in the partner's camera frame
    weight: Floats  # (G,) > 0


@dataclass(frozen=True)
class PairObservation:
    """Everything that pose estimation needs of one pair; network pixels, centres at integers; OpenCV axes; metres when metric.

    `depth_reference` comes from the pass with the reference first, `depth_query` from the pass with the query first, so that
    their errors (scale included) are independent.
    """

    xy_reference: Floats  # (M, 2)
    xy_query: Floats  # (M, 2)
    conf: Floats  # (M,) match confidence
    depth_reference: Floats  # (M,) z-depth in the reference's frame at xy_reference
    depth_query: Floats  # (M,) z-depth in the query's frame at xy_query
    K_reference: Floats  # (3, 3)
    K_query: Floats  # (3, 3)
    size_reference: tuple[int, int]  # height, width
    size_query: tuple[int, int]
    samples_reference: PointMapSamples
    samples_query: PointMapSamples
    shared_error: tuple[float, float] = (
        0.0,
        0.0,
    )  # pixels: match errors a whole region has in common, along and across epipolar lines

    def __len__(self) -> int:
        return len(self.conf)

    def take(self, keep: NDArray[np.bool_]) -> PairObservation:  # (M,)
        """The same pair with a part of its matches."""
        return replace(
            self,
            xy_reference=self.xy_reference[keep],
            xy_query=self.xy_query[keep],
            conf=self.conf[keep],
            depth_reference=self.depth_reference[keep],
            depth_query=self.depth_query[keep],
        )

    def points_reference(self) -> Floats:  # (M, 3)
        """Matched points in the reference's frame: its own metric depth along the rays of its camera."""
        return back_project(self.xy_reference, self.depth_reference, self.K_reference)

    def points_query(self) -> Floats:  # (M, 3)
        """Matched points in the query's frame."""
        return back_project(self.xy_query, self.depth_query, self.K_query)


def back_project(
    xy: Floats,  # (M, 2)
    depth: Floats,  # (M,) z-depth
    K: Floats,  # (3, 3)
) -> Floats:  # (M, 3)
    """Lift pixels to camera-frame points."""
    rays = (xy - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])
    return np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth[:, None]


def project(
    points: Floats,  # (M, 3)
    K: Floats,  # (3, 3)
) -> tuple[Floats, NDArray[np.bool_]]:  # (M, 2) pixels, (M,) in front of the camera
    """Project camera-frame points; those behind the camera get pixels of no meaning."""
    front = points[:, 2] > 1e-6
    z = np.where(front, points[:, 2], 1.0)
    return points[:, :2] / z[:, None] * np.array([K[0, 0], K[1, 1]]) + K[:2, 2], front
