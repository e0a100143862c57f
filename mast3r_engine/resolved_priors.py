"""From priors about photographs by name and in their own pixels to arrays over the views, in network pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.lens import Lens
from mast3r_engine.priors import CameraPrior, Priors
from mast3r_engine.undistortion import in_undistorted
from mast3r_engine.view_priors import DistanceBetween, Placing, ViewPriors
from mast3r_engine.views import ImageGeometry, View

Floats = NDArray[np.float64]


def resolve_priors(priors: Priors, views: Sequence[View], *, one_camera: bool = False) -> ViewPriors:
    """Bring all to the network's images; what is said about photographs that could not be read is left out.

    `one_camera`: one camera took all photographs.
    """
    found = ViewPriors.none(len(views))
    for k, view in enumerate(views):
        found.zoom[k] = 1.0 / float(np.sqrt(np.prod(view.geometry.scale)))
        _enter_camera(found, k, view, priors)
        _enter_place(found, k, view.name, priors)
        found.depth[k] = view.measured_depth
    place = {view.name: k for k, view in enumerate(views)}
    for group in [list(place)] if one_camera else priors.shared_cameras:
        members = [place[name] for name in group if name in place]
        found.camera[members] = min(members, default=0)
    return found


def wanted_placing(priors: Priors, views: Sequence[View], resolved: ViewPriors) -> Placing:
    """What is left to do once the photographs are aligned; distances of photographs that could not be read are left out."""
    place = {view.name: k for k, view in enumerate(views)}
    distances = []
    for d in priors.distances:
        if d.first in place and d.second in place:
            pixels = _at_network(d.first_pixel, views[place[d.first]]), _at_network(d.second_pixel, views[place[d.second]])
            distances.append(DistanceBetween(place[d.first], place[d.second], d.metres, d.sigma, *pixels))
    return Placing(
        distances=distances,
        factor=1.0 if priors.scale is None else priors.scale.factor,
        gravity=resolved.gravity if priors.up is not None and priors.up.gravity else None,
        ground_plane=priors.up is not None and priors.up.dominant_plane,
        up_axis="z" if priors.up is None else priors.up.axis,
    )


def pinhole_at_network(lens: Lens, geometry: ImageGeometry) -> tuple[float, Floats]:  # focal, (2,); network pixels
    """The camera of the view that `load_view` makes of a photograph of this lens."""
    K = geometry.intrinsics_to_network(lens.undistorted_K)
    return float(np.sqrt(K[0, 0] * K[1, 1])), K[:2, 2]


def lens_of(view: View, K: Floats) -> Lens | None:
    """The known lens of a view's original with what refinement made of it; `K` (3, 3) is at the network's size."""
    if view.lens is None or not np.isfinite(K).all():
        return view.lens
    focal, centre = pinhole_at_network(view.lens, view.geometry)
    shift = (K[:2, 2] - centre) * np.array(view.geometry.scale)
    return view.lens.scaled_focals(float(K[0, 0] / focal), (float(shift[0]), float(shift[1])))


def _enter_camera(found: ViewPriors, k: int, view: View, priors: Priors) -> None:
    camera = priors.camera_of(view.name)
    if camera is not None:
        found.focal[k], found.principal_point[k] = pinhole_at_network(camera.lens, view.geometry)
        found.focal_sigma[k] = {"fixed": 0.0, "prior": camera.focal_sigma, "refined": np.inf}[camera.mode]
        found.principal_sigma[k] = _principal_sigma(camera) * found.zoom[k]
    elif view.exif_focal is not None and priors.exif_focal_sigma is not None:
        found.focal[k], found.focal_sigma[k] = view.exif_focal * found.zoom[k], priors.exif_focal_sigma


def _principal_sigma(camera: CameraPrior) -> float:  # pixels of the original; 0: held
    return 0.0 if camera.mode == "fixed" else camera.principal_sigma or 0.0


def _enter_place(found: ViewPriors, k: int, name: str, priors: Priors) -> None:
    pose, position = priors.poses.get(name), priors.positions.get(name)
    if pose is not None:
        found.pose[k] = pose.cam2world
        found.pose_covariance[k] = 0.0 if pose.covariance is None else pose.covariance
    if position is not None:
        found.position[k], found.position_sigma[k] = position.position, position.sigma
    if priors.up is not None and name in priors.up.gravity:
        down = priors.up.gravity[name]
        found.gravity[k] = down / np.linalg.norm(down)


def _at_network(pixel: tuple[float, float] | None, view: View) -> tuple[float, float] | None:
    if pixel is None:
        return None
    xy = np.array(pixel)
    if view.lens is not None and not view.lens.needs_no_resampling:
        xy = in_undistorted(xy, view.lens)
    x, y = view.geometry.to_network(xy).tolist()
    return x, y
