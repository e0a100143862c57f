"""A reconstruction as COLMAP's sparse model: cameras, images with their keypoints, points with their tracks.

Pixels have their origin at the CORNER of the top-left pixel; poses are world-to-camera, quaternions w x y z. All ids start at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.selection import ExportedView, exported_cloud, exported_views, nearest_colors
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.tracks import build_tracks

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NO_ERROR = -1.0  # what COLMAP stands for a point whose error is not known


@dataclass(frozen=True)
class ColmapCamera:
    """A PINHOLE camera."""

    id: int
    width: int
    height: int
    params: tuple[float, float, float, float]  # fx, fy, cx, cy


@dataclass(frozen=True)
class ColmapImage:
    """A posed photograph and its M keypoints, every one with a point."""

    id: int
    quaternion: Floats  # (4,) w x y z, w >= 0, world to camera
    translation: Floats  # (3,)
    camera_id: int
    name: str
    xy: Floats  # (M, 2)
    point_ids: Integers  # (M,)


@dataclass(frozen=True)
class ColmapPoints:
    """P points, their ids 1 .. P; the sightings of one point follow each other."""

    xyz: Floats  # (P, 3)
    rgb: NDArray[np.uint8]  # (P, 3)
    error: Floats  # (P,) pixels of the original, NO_ERROR where nothing was measured
    length: Integers  # (P,) sightings
    image_ids: Integers  # (O,)
    keypoints: Integers  # (O,) from 0, in the image's list

    def tracks(self) -> list[Integers]:  # P of (length, 2): image id, keypoint
        """The sightings point by point."""
        if len(self.length) == 0:
            return []
        return np.split(np.stack([self.image_ids, self.keypoints], axis=1), np.cumsum(self.length)[:-1])


@dataclass(frozen=True)
class ColmapModel:
    """What `cameras`, `images` and `points3D` hold."""

    cameras: list[ColmapCamera]
    images: list[ColmapImage]
    points: ColmapPoints


def model_with_tracks(scene: Reconstruction) -> ColmapModel:
    """The model of the largest component with points triangulated from the matches; without matches there are no points."""
    views, tracks = exported_views(scene), build_tracks(scene)
    points = ColmapPoints(
        xyz=tracks.points,
        rgb=nearest_colors(exported_cloud(scene), tracks.points),
        error=tracks.error,
        length=np.bincount(tracks.track, minlength=len(tracks.points)),
        image_ids=tracks.image + 1,
        keypoints=tracks.keypoint,
    )
    keypoints = {view.index: tracks.image == view.index for view in views}
    sightings = {index: (tracks.xy[mine], tracks.track[mine] + 1) for index, mine in keypoints.items()}
    return _model(views, sightings, points)


def model_with_cloud(scene: Reconstruction, views: Sequence[ExportedView], most: int) -> ColmapModel:
    """The model of `views` with the cloud as points that no track belongs to, at most `most` of them, evenly taken."""
    cloud = exported_cloud(scene)
    chosen = np.unique(np.linspace(0, len(cloud.points) - 1, min(most, len(cloud.points))).round().astype(np.int64))
    none = np.zeros(0, np.int64)
    points = ColmapPoints(
        xyz=cloud.points[chosen].astype(np.float64),
        rgb=cloud.colors[chosen],
        error=np.full(len(chosen), NO_ERROR),
        length=np.zeros(len(chosen), np.int64),
        image_ids=none,
        keypoints=none,
    )
    return _model(views, {view.index: (np.zeros((0, 2)), none) for view in views}, points)


def quaternion_of(
    rotation: Floats,  # (3, 3)
) -> Floats:  # (4,) w x y z
    """Hamilton quaternion with w >= 0."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat(canonical=True)
    return np.array([w, x, y, z])


def _model(views: Sequence[ExportedView], sightings: dict[int, tuple[Floats, Integers]], points: ColmapPoints) -> ColmapModel:
    cameras: dict[tuple[int, int, tuple[float, float, float, float]], ColmapCamera] = {}
    images = []
    for view in views:
        key = (view.width, view.height, (view.fx, view.fy, view.cx, view.cy))  # photographs of one camera share it
        camera = cameras.setdefault(key, ColmapCamera(len(cameras) + 1, *key))
        world2cam = view.cam2world[:3, :3].T
        translation = -world2cam @ view.cam2world[:3, 3]
        images.append(
            ColmapImage(view.index + 1, quaternion_of(world2cam), translation, camera.id, view.name, *sightings[view.index])
        )
    return ColmapModel(list(cameras.values()), images, points)
