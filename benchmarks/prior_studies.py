"""What each prior brings on the noisy oracle, and what a wrong one does: one function a prior, each giving its three runs.

A run is a `Reconstruction` by the very `reconstruct` that users call; lenses alone are studied on alignment, since the oracle's
photographs show nothing that could be bent.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mast3r_engine import (
    CameraPrior,
    DepthPrior,
    KnownDistance,
    Lens,
    Mask,
    PosePrior,
    PositionPrior,
    Priors,
    Reconstruction,
    UpDirection,
    reconstruct,
)
from mast3r_engine.evaluation.oracle import OracleNetwork, OracleNoise, OracleScene, grey_image, make_scene, render_view
from mast3r_engine.evaluation.trajectory import trajectory_errors

Floats = NDArray[np.float64]

H, W = 96, 128
NEAR = 4  # photographs of the studies of cameras, from nearly one place, where focal lengths are least sure
ODD = 2  # the photograph whose prior is wrong


@dataclass(frozen=True)
class Study:
    """The same photographs without a prior, with a right one and with a wrong one."""

    name: str
    wrong_how: str
    measure: str  # with its unit
    run: Callable[[int], tuple[float, float, float, list[str]]]  # seed -> without, right, wrong, what the wrong one was told


def photo_names(count: int) -> list[str]:
    """Names of photographs that are arrays."""
    return [f"image_{k:03d}" for k in range(count)]


def run_three(
    scene: OracleScene, right: Priors, wrong: Priors, error: Callable[[Reconstruction], float], seed: int, *, metric: bool = True
) -> tuple[float, float, float, list[str]]:
    """Errors without, with right and with wrong priors, and the warnings of the last."""
    network = OracleNetwork(scene, OracleNoise(), seed=seed, metric=metric)
    photos = [grey_image(k, view.height, view.width) for k, view in enumerate(scene.views)]
    scenes = [reconstruct(photos, network, priors=priors) for priors in (Priors(), right, wrong)]
    without, with_right, with_wrong = (error(found) for found in scenes)
    return without, with_right, with_wrong, scenes[2].warnings


def true_poses(scene: OracleScene) -> Floats:  # (N, 4, 4)
    """cam2world in the room."""
    return np.stack([view.cam2world for view in scene.views])


def lens_of(scene: OracleScene, k: int, factor: float = 1.0) -> Lens:
    """The true camera, its focal length multiplied."""
    return Lens("SIMPLE_PINHOLE", (factor * scene.views[k].K[0, 0], (W - 1) / 2, (H - 1) / 2), W, H)


# --- errors


def position_error(scene: OracleScene) -> Callable[[Reconstruction], float]:
    """ATE in millimetres after the best similarity."""
    return lambda found: 1e3 * trajectory_errors(found.cam2world, true_poses(scene)).ate


def absolute_error(scene: OracleScene) -> Callable[[Reconstruction], float]:
    """Root mean square millimetres of the centres in the user's frame."""

    def error(found: Reconstruction) -> float:
        away = (found.cam2world - true_poses(scene))[found.component >= 0, :3, 3]
        return 1e3 * float(np.sqrt((away**2).sum(1).mean()))

    return error


def focal_error(scene: OracleScene) -> Callable[[Reconstruction], float]:
    """Median per cent."""
    true = np.array([view.K[0, 0] for view in scene.views])
    return lambda found: 100 * float(np.median(np.abs(found.intrinsics[:, 0, 0] / true - 1)))


def depth_error(scene: OracleScene) -> Callable[[Reconstruction], float]:
    """Median per cent, without any scaling."""

    def error(found: Reconstruction) -> float:
        known = [(d, v) for d, v in zip(found.depth, scene.views, strict=True) if np.isfinite(d).any()]
        errors = [np.nanmedian(np.abs(depth / view.depth - 1)) for depth, view in known]
        return 100 * float(np.nanmedian(errors))

    return error


def tilt_error(scene: OracleScene) -> Callable[[Reconstruction], float]:
    """Degrees between the room's down and the result's: -z where it was turned, else y of the first photograph."""

    def error(found: Reconstruction) -> float:
        down = found.cam2world[1, :3, :3] @ scene.views[1].cam2world[:3, :3].T @ [0, 1, 0]
        said = [0, 0, -1] if "z up" in found.world else [0, 1, 0]
        return float(np.degrees(np.arccos(np.clip(down @ said, -1, 1))))

    return error


# --- cameras


def fixed_intrinsics(seed: int) -> tuple[float, float, float, list[str]]:
    scene = make_scene(NEAR, H, W, seed=seed, arc_degrees=20)
    right = {name: CameraPrior(lens_of(scene, k), "fixed") for k, name in enumerate(photo_names(NEAR))}
    wrong = {**right, photo_names(NEAR)[ODD]: CameraPrior(lens_of(scene, ODD, 1.1), "fixed")}
    return run_three(scene, Priors(cameras=right), Priors(cameras=wrong), position_error(scene), seed)


def prior_intrinsics(seed: int) -> tuple[float, float, float, list[str]]:
    scene, rng = make_scene(NEAR, H, W, seed=seed, arc_degrees=20), np.random.default_rng(seed)
    factors = np.exp(0.003 * rng.standard_normal(NEAR))
    right = {name: CameraPrior(lens_of(scene, k, factors[k]), "prior", 0.003) for k, name in enumerate(photo_names(NEAR))}
    wrong = {**right, photo_names(NEAR)[ODD]: CameraPrior(lens_of(scene, ODD, 1.3), "prior", 0.003)}
    return run_three(scene, Priors(cameras=right), Priors(cameras=wrong), focal_error(scene), seed)


def shared_camera(seed: int) -> tuple[float, float, float, list[str]]:
    placed = make_scene(NEAR, H, W, seed=seed, arc_degrees=20)
    views = tuple(render_view(placed.room, view.cam2world, 110.0, H, W) for view in placed.views)
    odd = render_view(placed.room, placed.views[ODD].cam2world, 110.0 * 1.15, H, W)
    one, other = replace(placed, views=views), replace(placed, views=(*views[:ODD], odd, *views[ODD + 1 :]))
    shared = Priors(shared_cameras=[photo_names(NEAR)])
    without, right, _, _ = run_three(one, shared, shared, focal_error(one), seed)
    _, _, wrong, told = run_three(other, shared, shared, focal_error(other), seed)
    return without, right, wrong, told


def exif_focal(seed: int) -> tuple[float, float, float, list[str]]:
    scene = make_scene(NEAR, H, W, seed=seed, arc_degrees=20)
    network = OracleNetwork(scene, OracleNoise(), seed=seed)
    found = []
    for factor, priors in ((1.0, Priors()), (1.0, Priors(exif_focal_sigma=0.012)), (1.6, Priors(exif_focal_sigma=0.012))):
        photos = [_with_exif(scene, k, factor if k == ODD else 1.0) for k in range(NEAR)]
        found.append(reconstruct(photos, network, priors=priors))
    errors = [focal_error(scene)(result) for result in found]
    return errors[0], errors[1], errors[2], found[2].warnings


def _with_exif(scene: OracleScene, k: int, factor: float) -> bytes:
    """A file whose EXIF has the 35 mm equivalent in whole millimetres."""
    exif, written = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 1
    millimetres = round(factor * scene.views[k].K[0, 0] / np.hypot(W, H) * np.hypot(36, 24))
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = millimetres
    Image.fromarray(grey_image(k, H, W)).save(written, "PNG", exif=exif)
    return written.getvalue()


# --- places


def fixed_poses(seed: int) -> tuple[float, float, float, list[str]]:
    scene = make_scene(5, H, W, seed=seed)
    right = {name: PosePrior(pose) for name, pose in zip(photo_names(5), true_poses(scene), strict=True)}
    wrong = {**right, photo_names(5)[ODD]: PosePrior(_moved(true_poses(scene)[ODD], [0.5, 0, 0]))}
    return run_three(scene, Priors(poses=right), Priors(poses=wrong), depth_error(scene), seed)


def uncertain_poses(seed: int) -> tuple[float, float, float, list[str]]:
    """The error `without` is that of the poses as they were given: without them there is no frame to measure in."""
    scene, rng = make_scene(5, H, W, seed=seed), np.random.default_rng(seed)
    shifts = 0.05 * rng.standard_normal((5, 3))
    covariance = np.diag([0.05**2] * 3 + [0.01**2] * 3)
    right = {n: PosePrior(_moved(p, s), covariance) for n, p, s in zip(photo_names(5), true_poses(scene), shifts, strict=True)}
    wrong = {**right, photo_names(5)[ODD]: PosePrior(_moved(true_poses(scene)[ODD], [1.0, 0, 0]), covariance)}
    _, good, bad, told = run_three(scene, Priors(poses=right), Priors(poses=wrong), absolute_error(scene), seed)
    return 1e3 * float(np.sqrt((shifts**2).sum(1).mean())), good, bad, told


def gps_positions(seed: int) -> tuple[float, float, float, list[str]]:
    """As `uncertain_poses`, on eight photographs around the room."""
    scene, right, wrong = gps_scene(seed)
    _, good, bad, told = run_three(scene, Priors(positions=right), Priors(positions=wrong), absolute_error(scene), seed)
    at = np.stack([position.position for position in right.values()])
    return 1e3 * float(np.sqrt(((at - true_poses(scene)[:, :3, 3]) ** 2).sum(1).mean())), good, bad, told


def gps_scene(seed: int) -> tuple[OracleScene, dict[str, PositionPrior], dict[str, PositionPrior]]:
    """Fixes of 0.1 m along each axis, and the same with one 3 m away."""
    scene, rng = make_scene(8, H, W, seed=seed, arc_degrees=200), np.random.default_rng(seed)
    at = true_poses(scene)[:, :3, 3] + 0.1 * rng.standard_normal((8, 3))
    right = {name: PositionPrior(place, 0.1) for name, place in zip(photo_names(8), at, strict=True)}
    return scene, right, {**right, photo_names(8)[ODD]: PositionPrior(at[ODD] + [3.0, 0, 1.0], 0.1)}


def _moved(pose: Floats, shift: list[float] | Floats) -> Floats:
    moved = pose.copy()
    moved[:3, 3] += shift
    return moved


def known_distances(seed: int) -> tuple[float, float, float, list[str]]:
    """A network without a unit, three measured distances between cameras."""
    scene, names = make_scene(4, H, W, seed=seed), photo_names(4)
    centres = true_poses(scene)[:, :3, 3]
    right = [KnownDistance(names[0], names[k], float(np.linalg.norm(centres[0] - centres[k]))) for k in (1, 2, 3)]
    wrong = [*right[:2], replace(right[2], metres=1.5 * right[2].metres)]
    return run_three(scene, Priors(distances=right), Priors(distances=wrong), depth_error(scene), seed, metric=False)


def gravity(seed: int) -> tuple[float, float, float, list[str]]:
    scene, rng = make_scene(5, H, W, seed=seed), np.random.default_rng(seed)
    down = {n: v.cam2world[:3, :3].T @ ([0, 1, 0] + 0.01 * rng.standard_normal(3)) for n, v in zip(photo_names(5), scene.views)}
    wrong = {**down, photo_names(5)[ODD]: np.array([1.0, 0, 0])}
    return run_three(scene, Priors(up=UpDirection(down)), Priors(up=UpDirection(wrong)), tilt_error(scene), seed)


def ground_plane(seed: int) -> tuple[float, float, float, list[str]]:
    """There is no wrong plane to give: the third run lets the photographs see the upper half of the room alone."""
    scene = make_scene(5, H, W, seed=seed)
    up = UpDirection(dominant_plane=True)
    upper = {n: Mask((v.world_points()[..., 1] < 0.3) | (np.arange(W) < 2)) for n, v in zip(photo_names(5), scene.views)}
    return run_three(scene, Priors(up=up), Priors(up=up, masks=upper), tilt_error(scene), seed)


# --- pixels


class WithMovingThing(OracleNetwork):
    """A thing in the room is somewhere else in every photograph: what the descriptors say about it is wrong."""

    centre, radius = np.array([0.0, 0.4, 0.6]), 1.0

    def thing(self, k: int) -> NDArray[np.bool_]:  # (H, W)
        """Where view k shows it."""
        away = np.linalg.norm(self.scene.views[k].world_points() - self.centre, axis=-1)
        return np.asarray(away < self.radius)

    def _describe(self, view: int, key: list[int]) -> Floats:
        still = super()._describe(view, key)
        columns = np.roll(still, 7 * view, axis=1)  # the thing moved across the picture
        return np.where(self.thing(view)[..., None], columns, still)


def masks(seed: int) -> tuple[float, float, float, list[str]]:
    scene = make_scene(5, H, W, seed=seed, arc_degrees=60)
    network = WithMovingThing(scene, OracleNoise(), seed=seed)
    photos = [grey_image(k, H, W) for k in range(5)]
    right = {name: Mask(~network.thing(k)) for k, name in enumerate(photo_names(5))}
    wrong = {**right, photo_names(5)[ODD]: Mask(network.thing(ODD))}  # the wrong way round
    found = [reconstruct(photos, network, priors=priors) for priors in (Priors(), Priors(masks=right), Priors(masks=wrong))]
    errors = [position_error(scene)(result) for result in found]
    told = [*found[2].warnings, *(f"{name}: {reason}" for _, name, reason in found[2].unregistered)]
    return errors[0], errors[1], errors[2], told


def depth_maps(seed: int) -> tuple[float, float, float, list[str]]:
    """Three photographs from nearly one place: matches say little about depths."""
    scene, rng, names = make_scene(3, H, W, seed=seed, arc_degrees=8), np.random.default_rng(seed), photo_names(3)
    measured = [v.depth * np.exp(0.005 * rng.standard_normal(v.depth.shape)) for v in scene.views]
    for depth in measured:
        depth[rng.random(depth.shape) < 0.3] = np.nan  # holes
    right = {name: DepthPrior(depth.astype(np.float32), 0.01) for name, depth in zip(names, measured, strict=True)}
    wrong = {**right, names[ODD]: DepthPrior((1.4 * measured[ODD]).astype(np.float32), 0.01)}
    return run_three(scene, Priors(depths=right), Priors(depths=wrong), depth_error(scene), seed)


STUDIES = (
    Study("intrinsics, fixed", "one focal length 10 % too long", "position error, mm", fixed_intrinsics),
    Study("intrinsics, prior of 0.3 %", "one 30 % too long", "focal error, %", prior_intrinsics),
    Study("one shared camera", "one photograph has another", "focal error, %", shared_camera),
    Study("EXIF's 35 mm equivalent", "one photograph was cropped to 1 / 1.6", "focal error, %", exif_focal),
    Study("poses, fixed", "one 0.5 m away", "depth error, %", fixed_poses),
    Study("poses of 50 mm", "one 1 m away", "position in the user's frame, mm", uncertain_poses),
    Study("GPS of 100 mm", "one 3 m away", "position in the user's frame, mm", gps_positions),
    Study("known distances", "one of three 50 % too long", "depth error, %", known_distances),
    Study("gravity", "one sensor broken", "tilt, degrees", gravity),
    Study("dominant plane", "hardly any floor in sight", "tilt, degrees", ground_plane),
    Study("masks", "one mask the wrong way round", "position error, mm", masks),
    Study("depth maps of 1 %", "one 40 % too deep", "depth error, %", depth_maps),
)
