"""Where to look at a scene from: a virtual pinhole camera outside it, chosen from the photographs' own cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Viewpoint:
    """A virtual camera with OpenCV axes."""

    world2cam: Array  # (4, 4)
    focal: float  # pixels
    centre: tuple[float, float]  # principal point, pixels
    width: int
    height: int

    @property
    def eye(self) -> Array:
        """The camera's centre in the world, (3,)."""
        position: Array = -self.world2cam[:3, :3].T @ self.world2cam[:3, 3]
        return position

    def project(
        self,
        points: NDArray[np.floating],  # (P, 3) world
    ) -> tuple[Array, Array]:  # (P, 2) pixels, (P,) depth
        """Project points; the pixels of points behind the camera mean nothing."""
        in_camera = points @ self.world2cam[:3, :3].T + self.world2cam[:3, 3]
        depth = in_camera[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.focal * in_camera[:, :2] / depth[:, None] + np.array(self.centre), depth


def choose_viewpoint(
    points: NDArray[np.float32],  # (P, 3) of one component
    cameras: Array,  # (C, 4, 4) cam2world of the same component
    azimuth: float,  # degrees from where the photographs look on average, around the vertical
    elevation: float,  # degrees above the horizon
    width: int,
    height: int,
) -> Viewpoint:
    """Stand behind the photographs, turned by `azimuth` and raised by `elevation`, and fit scene and cameras into the picture."""
    landmarks = _landmarks(points, cameras)
    middle = (landmarks.min(axis=0) + landmarks.max(axis=0)) / 2
    radius = max(float(np.linalg.norm(landmarks - middle, axis=1).max()), 1e-6)
    up, forward = _up_and_forward(cameras)
    turn, rise = np.radians(azimuth), np.radians(elevation)
    level = np.cos(turn) * forward + np.sin(turn) * np.cross(forward, up)
    gaze = np.cos(rise) * level - np.sin(rise) * up
    right = np.cross(gaze, up)
    world2cam = np.eye(4)
    world2cam[:3, :3] = np.stack((right / np.linalg.norm(right), np.cross(gaze, right / np.linalg.norm(right)), gaze))
    world2cam[:3, 3] = -world2cam[:3, :3] @ (middle - 3.0 * radius * gaze)
    return _fit(world2cam, landmarks, width, height)


def scene_radius(points: NDArray[np.float32], cameras: Array) -> float:
    """Half the diagonal of the box that holds the cameras and all but the farthest points."""
    landmarks = _landmarks(points, cameras)
    return max(float(np.linalg.norm(np.ptp(landmarks, axis=0))) / 2, 1e-6)


def _landmarks(points: NDArray[np.float32], cameras: Array) -> Array:
    """Camera centres and, of the points, those inside the 1 % and 99 % quantiles of each axis (thinned)."""
    sample = points[:: max(1, len(points) // 20_000)].astype(np.float64)
    if len(sample):
        low, high = np.quantile(sample, (0.01, 0.99), axis=0)
        sample = sample[((sample >= low) & (sample <= high)).all(axis=1)]
    return np.concatenate([sample, cameras[:, :3, 3]]) if len(sample) + len(cameras) else np.zeros((1, 3))


def _up_and_forward(cameras: Array) -> tuple[Array, Array]:
    """The vertical as the cameras tell it, and their mean viewing direction made orthogonal to it."""
    up = _vertical(cameras)
    # Photographs taken around a room cancel; any of them will do then, and the first is always there.
    looks = cameras[:, :3, 2]
    mean = looks.sum(axis=0)
    if len(cameras) and np.linalg.norm(mean) < 0.2 * len(cameras):
        mean = looks[0]
    level = mean - (mean @ up) * up
    sideways = np.cross(np.cross(up, np.array([0.0, 0.0, 1.0])), up)
    return up, _unit(level, _unit(sideways, np.array([1.0, 0.0, 0.0])))


def _vertical(cameras: Array) -> Array:
    """The direction that is least along the cameras' x axes, which people hold level even where they look down.

    Cameras that were never turned leave it open; their own up directions decide then.
    """
    if len(cameras) == 0:
        return np.array([0.0, -1.0, 0.0])
    x, y = cameras[:, :3, 0], cameras[:, :3, 1]
    _, directions = np.linalg.eigh(x.T @ x + 0.02 * (len(cameras) * np.eye(3) - y.T @ y))
    up: Array = directions[:, 0]
    return up if up @ y.sum(axis=0) <= 0 else -up


def _unit(vector: Array, otherwise: Array) -> Array:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-6 else otherwise


def _fit(world2cam: Array, landmarks: Array, width: int, height: int) -> Viewpoint:
    """Choose focal length and principal point so that the landmarks fill the picture but for a margin of 4 %."""
    flat, _ = Viewpoint(world2cam, 1.0, (0.0, 0.0), width, height).project(landmarks)
    low, high = flat.min(axis=0), flat.max(axis=0)
    extent = np.maximum(high - low, 1e-9)
    focal = 0.92 * float(min(width / extent[0], height / extent[1], 20.0 * max(width, height)))
    middle = focal * (low + high) / 2
    return Viewpoint(world2cam, focal, (width / 2 - middle[0], height / 2 - middle[1]), width, height)
