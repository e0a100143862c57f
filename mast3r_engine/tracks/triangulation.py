"""Robust points from many observations: pixels decide, the predicted depths hold what parallax leaves open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

STEPS = 10
PIXEL_SIGMA = 1.0  # network pixels; matches are rounded to them
DEPTH_SIGMA = 0.1  # of the depth: it outweighs the pixels only below some degrees of parallax
NEAR = 1e-6
AT_ONCE = 200_000  # observations: some 100 MB


@dataclass(frozen=True)
class Observations:
    """O sightings of T points, those of one point next to each other. Network pixels, centres at integers."""

    track: Integers  # (O,) 0 .. T-1, never falling, none missing
    image: Integers  # (O,) index of the photograph
    xy: Floats  # (O, 2)
    depth: Floats  # (O,) z-depth predicted there

    @property
    def starts(self) -> Integers:  # (T,)
        """Where each track begins."""
        return np.flatnonzero(np.diff(self.track, prepend=-1))

    def keep(self, chosen: NDArray[np.bool_]) -> Observations:  # (O,)
        """The chosen ones, tracks numbered anew; tracks with none vanish."""
        _, track = np.unique(self.track[chosen], return_inverse=True)
        return Observations(track, self.image[chosen], self.xy[chosen], self.depth[chosen])


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras of N photographs at network size; NaN where unregistered."""

    K: Floats  # (N, 3, 3)
    cam2world: Floats  # (N, 4, 4)

    def lift(self, image: Integers, xy: Floats, depth: Floats) -> Floats:  # (O,), (O, 2), (O,) -> (O, 3) in the world
        """World points of pixels with known depth."""
        K, pose = self.K[image], self.cam2world[image]
        rays = np.stack([(xy[:, 0] - K[:, 0, 2]) / K[:, 0, 0], (xy[:, 1] - K[:, 1, 2]) / K[:, 1, 1], np.ones(len(xy))], axis=1)
        points: Floats = np.einsum("oij,oj->oi", pose[:, :3, :3], rays * depth[:, None]) + pose[:, :3, 3]
        return points

    def to_camera(self, image: Integers, points: Floats) -> Floats:  # (O,), (O, 3) -> (O, 3)
        """World points in the frames of the photographs."""
        pose = self.cam2world[image]
        local: Floats = np.einsum("oji,oj->oi", pose[:, :3, :3], points - pose[:, :3, 3])
        return local

    def project(self, image: Integers, points: Floats) -> Floats:  # (O,), (O, 3) -> (O, 2) pixels, NaN behind the camera
        """Where the photographs see world points."""
        local, K = self.to_camera(image, points), self.K[image]
        z = np.where(local[:, 2] > NEAR, local[:, 2], np.nan)
        xy: Floats = local[:, :2] / z[:, None] * K[:, [0, 1], [0, 1]] + K[:, :2, 2]
        return xy


def triangulate(seen: Observations, cameras: Cameras) -> Floats:  # (T, 3) in the world
    """Find the points by Gauss-Newton with Cauchy weights, from the median of what the depths say; memory is bounded."""
    found, ends = [np.zeros((0, 3))], np.append(seen.starts, len(seen.track))
    first = 0
    while first < len(ends) - 1:
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + AT_ONCE, side="right")) - 1)
        part = slice(ends[first], ends[last])
        found.append(_solve(Observations(seen.track[part] - first, seen.image[part], seen.xy[part], seen.depth[part]), cameras))
        first = last
    return np.concatenate(found)


def _solve(seen: Observations, cameras: Cameras) -> Floats:  # (T, 3)
    points = _start(seen, cameras)
    pose, K = cameras.cam2world[seen.image], cameras.K[seen.image]
    focal, world2cam = K[:, [0, 1], [0, 1]], pose[:, :3, :3].transpose(0, 2, 1)
    for _ in range(STEPS):
        local = cameras.to_camera(seen.image, points[seen.track])
        front = local[:, 2] > NEAR
        z = np.where(front, local[:, 2], 1.0)
        off = (local[:, :2] / z[:, None] * focal + K[:, :2, 2] - seen.xy) / PIXEL_SIGMA
        deep = (local[:, 2] / seen.depth - 1) / DEPTH_SIGMA
        to_xy = np.zeros((len(z), 2, 3))
        to_xy[:, 0, 0], to_xy[:, 1, 1] = focal[:, 0] / z, focal[:, 1] / z
        to_xy[:, :, 2] = -focal * local[:, :2] / z[:, None] ** 2
        rows = np.concatenate(
            [to_xy / PIXEL_SIGMA @ world2cam, (world2cam[:, 2] / seen.depth[:, None] / DEPTH_SIGMA)[:, None]], 1
        )
        error = np.concatenate([off, deep[:, None]], axis=1)
        weight = front[:, None] / np.stack([1 + (off**2).sum(1)] * 2 + [1 + deep**2], axis=1)
        normal = np.add.reduceat(np.einsum("ori,or,orj->oij", rows, weight, rows), seen.starts)
        gradient = np.add.reduceat(np.einsum("ori,or->oi", rows, weight * error), seen.starts)
        damping = 1e-9 * np.trace(normal, axis1=1, axis2=2) + 1e-300  # a track that lies behind all its cameras stays where it is
        points = points - np.linalg.solve(normal + damping[:, None, None] * np.eye(3), gradient[..., None])[..., 0]
    return points


def _start(seen: Observations, cameras: Cameras) -> Floats:  # (T, 3)
    """The median over a track's observations, axis by axis."""
    lifted = cameras.lift(seen.image, seen.xy, seen.depth)
    count = np.bincount(seen.track)
    middle = np.empty((len(count), 3))
    for axis in range(3):
        ordered = lifted[np.lexsort((lifted[:, axis], seen.track)), axis]
        middle[:, axis] = (ordered[seen.starts + (count - 1) // 2] + ordered[seen.starts + count // 2]) / 2
    return middle
