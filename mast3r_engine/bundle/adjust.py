"""Bundle adjustment of tracks by COLMAP's solver (pycolmap, Ceres): robust, and what priors fix stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import OptionsError
from mast3r_engine.tracks import Cameras, Observations

Floats = NDArray[np.float64]

MOST_ITERATIONS = 60
CORNER = 0.5  # COLMAP puts the origin at the corner of the first pixel


@dataclass(frozen=True)
class Held:
    """What of N photographs' cameras the adjustment may not change."""

    camera: NDArray[np.int64]  # (N,) photographs of one number share one camera
    intrinsics: NDArray[np.bool_]  # (N,) true: focal length known
    pose: NDArray[np.bool_]  # (N,) true: pose known

    @staticmethod
    def nothing(images: int) -> Held:
        """Each photograph has a camera of its own, and all is free."""
        free = np.zeros(images, bool)
        return Held(np.arange(images), free, free)


def load_pycolmap() -> Any:
    """OptionsError with the remedy where the solver is not installed."""
    try:
        import pycolmap
    except ImportError as error:
        raise OptionsError(f"refine 'bundle' needs pycolmap ({error}); install it with: pip install pycolmap") from error
    return pycolmap


def adjust(
    seen: Observations,
    points: Floats,  # (T, 3)
    cameras: Cameras,
    sizes: list[tuple[int, int]],  # (h, w) of N photographs at network size
    held: Held,
    kernel: float,  # width of the Cauchy kernel, network pixels
) -> tuple[Cameras, Floats]:
    """Minimise the reprojection error over poses, focal lengths and points; principal points stay.

    The frame is free but for poses that are held: the caller puts it where it belongs.
    """
    pycolmap = load_pycolmap()
    model, images = _model(pycolmap, seen, points, cameras, sizes, held)
    config = pycolmap.BundleAdjustmentConfig()
    for i in images:
        config.add_image(i + 1)
    for i in images:
        if held.intrinsics[i] and not config.has_constant_cam_intrinsics(int(held.camera[i]) + 1):
            config.set_constant_cam_intrinsics(int(held.camera[i]) + 1)
        if held.pose[i]:
            config.set_constant_rig_from_world_pose(i + 1)
    if held.pose[images].sum() < 2:
        config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_extra_params = options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = kernel
    options.ceres.solver_options.max_num_iterations = MOST_ITERATIONS
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()
    return _read(model, images, cameras, len(points))


def _model(
    pycolmap: Any, seen: Observations, points: Floats, cameras: Cameras, sizes: list[tuple[int, int]], held: Held
) -> tuple[Any, list[int]]:
    model = pycolmap.Reconstruction()
    images = [int(i) for i in np.unique(seen.image)]
    for i in images:
        if int(held.camera[i]) + 1 not in model.cameras:
            K, (h, w) = cameras.K[i], sizes[i]
            one_focal = abs(K[0, 0] - K[1, 1]) <= 1e-6 * K[0, 0]
            params = [K[0, 0], *([] if one_focal else [K[1, 1]]), K[0, 2] + CORNER, K[1, 2] + CORNER]
            model.add_camera_with_trivial_rig(
                pycolmap.Camera(
                    camera_id=int(held.camera[i]) + 1,
                    model="SIMPLE_PINHOLE" if one_focal else "PINHOLE",
                    width=w,
                    height=h,
                    params=params,
                )
            )
        mine = np.flatnonzero(seen.image == i)
        image = pycolmap.Image(name=str(i), keypoints=seen.xy[mine] + CORNER, camera_id=int(held.camera[i]) + 1, image_id=i + 1)
        world2cam = np.linalg.inv(cameras.cam2world[i])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(world2cam[:3]))
    place = np.empty(len(seen.image), np.int64)
    for i in images:
        mine = np.flatnonzero(seen.image == i)
        place[mine] = np.arange(len(mine))
    ends = np.append(seen.starts, len(seen.track))
    for t, point in enumerate(points):
        track = pycolmap.Track()
        for o in range(ends[t], ends[t + 1]):
            track.add_element(int(seen.image[o]) + 1, int(place[o]))
        model.add_point3D_with_id(t + 1, pycolmap.Point3D(xyz=point, track=track))
    return model, images


def _read(model: Any, images: list[int], cameras: Cameras, count: int) -> tuple[Cameras, Floats]:
    K, cam2world = cameras.K.copy(), cameras.cam2world.copy()
    for i in images:
        image = model.images[i + 1]
        camera = model.cameras[image.camera_id]
        K[i, 0, 0], K[i, 1, 1] = camera.focal_length_x, camera.focal_length_y
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().matrix()
        cam2world[i] = np.linalg.inv(pose)
    points = np.stack([model.points3D[t + 1].xyz for t in range(count)]) if count else np.zeros((0, 3))
    return Cameras(K, cam2world), points
