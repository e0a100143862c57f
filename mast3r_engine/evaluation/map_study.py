"""Localisation in maps on the oracle: the truth frozen or a reconstruction of it, a query between its photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.localisation_study import PoseCase, measure_pose
from mast3r_engine.evaluation.oracle import (
    OracleNetwork,
    OracleScene,
    grey_image,
    look_at,
    make_scene,
    predict,
    render_view,
)
from mast3r_engine.localisation import MapPhoto, MapPose, PinholeCamera, Reference, SceneMap, freeze_map, localize_in_maps
from mast3r_engine.localisation.reference import encode_photographs
from mast3r_engine.localisation.scene_map import assemble_map
from mast3r_engine.options import LocalizeOptions
from mast3r_engine.pipeline import reconstruct

Floats = NDArray[np.float64]

HEIGHT, WIDTH = 96, 128
ARC_DEGREES = 60.0  # that a map's photographs lie on, however many there are


def scene_with_query(seed: int, photos: int, height: int = HEIGHT, width: int = WIDTH) -> OracleScene:
    """`photos` views on an arc around the furniture and a query, the last view, somewhere between them."""
    rng = np.random.default_rng([seed, 701])
    arc = make_scene(photos, height, width, seed=seed, arc_degrees=ARC_DEGREES)
    angle, radius = np.radians(rng.uniform(-ARC_DEGREES / 2, ARC_DEGREES / 2)), rng.uniform(1.6, 2.6)
    centre = np.array([radius * np.sin(angle), rng.uniform(-0.7, 0.1), -radius * np.cos(angle)])
    pose = look_at(centre, np.array([0.0, 0.2, 0.6]) + rng.uniform(-0.4, 0.4, 3), roll=rng.uniform(-0.1, 0.1))
    query = render_view(arc.room, pose, max(height, width) * rng.uniform(0.75, 0.95), height, width)
    return OracleScene(arc.room, (*arc.views, query))


def exact_map(scene: OracleScene, network: OracleNetwork) -> SceneMap:
    """All views but the last with their true poses and cameras; each one's depth is the mean of what its passes predict."""
    photos = range(len(scene) - 1)
    sources = [_picture(scene, k) for k in photos]
    encoded = encode_photographs(sources, network)
    frozen = [_exact_photo(scene, k, encoded[k], network) for k in photos]
    return assemble_map(frozen, True, network, 0.0, 0, "the scene's world")


def reconstructed_map(scene: OracleScene, network: OracleNetwork) -> SceneMap:
    """All views but the last, reconstructed."""
    images = [_picture(scene, k) for k in range(len(scene) - 1)]
    return freeze_map(reconstruct(images, network), images, network)


def localize_last(
    scene: OracleScene, scene_map: SceneMap, network: OracleNetwork, top_k: int, options: LocalizeOptions | None = None
) -> MapPose:
    """The last view in a map of the others, its camera given."""
    query = len(scene) - 1
    return localize_in_maps(_picture(scene, query), [scene_map], network, options, camera=scene.views[query].K, top_k=top_k)


def case_in_map(answer: MapPose, scene: OracleScene, scene_map: SceneMap) -> PoseCase | str:
    """The answer's case in the map's own frame and size, or why it was refused.

    Where the truth is in that frame is said by the map's cameras alone: rotation by the mean of theirs, size and origin by their
    centres. The map's size error is thus left out, as it is for whoever moves within the map; its bending is not.
    """
    if answer.reason is not None:
        return answer.reason
    numbers = [int(name.removeprefix("image_")) for name in scene_map.names]
    found = np.stack([photo.cam2map for photo in scene_map.photos])
    pose = true_in_map(found, np.stack([scene.views[k].cam2world for k in numbers]), scene.views[-1].cam2world)[0]
    return measure_pose(answer.cam2map, answer.covariance, pose)


def true_in_map(
    found: Floats,  # (N, 4, 4) the map's cameras
    true: Floats,  # (N, 4, 4) the same in the world
    query: Floats,  # (4, 4) in the world
) -> tuple[Floats, float]:  # (4, 4), the world's unit in the map's
    """Carry a pose from the world into the map, by the mean rotation of its cameras and the spread of their centres."""
    R = _mean_rotation(found[:, :3, :3] @ np.swapaxes(true[:, :3, :3], 1, 2))
    moved = true[:, :3, 3] @ R.T
    spread = [points - points.mean(axis=0) for points in (found[:, :3, 3], moved)]
    size = float(np.sqrt((spread[0] ** 2).sum() / (spread[1] ** 2).sum())) if len(true) > 1 else 1.0
    pose = np.eye(4)
    pose[:3, :3] = R @ query[:3, :3]
    pose[:3, 3] = size * (R @ query[:3, 3]) + found[:, :3, 3].mean(axis=0) - size * moved.mean(axis=0)
    return pose, size


def _mean_rotation(rotations: Floats) -> Floats:  # (N, 3, 3) -> (3, 3)
    U, _, Vt = np.linalg.svd(rotations.sum(axis=0))
    mean: Floats = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    return mean


def _picture(scene: OracleScene, k: int) -> NDArray[np.uint8]:  # (H, W, 3)
    return grey_image(k, scene.views[k].height, scene.views[k].width)


def _exact_photo(scene: OracleScene, k: int, reference: Reference, network: OracleNetwork) -> MapPhoto:
    view = scene.views[k]
    partners = [j for j in range(len(scene) - 1) if j != k] or [k]
    depths = [predict(scene, k, j, network.noise, network.seed).pts_first[..., 2] for j in partners]
    return MapPhoto(
        Reference(
            reference.name,
            reference.geometry,
            reference.encoded,
            camera=PinholeCamera(view.K, view.width, view.height),
            fingerprint=reference.fingerprint,
        ),
        view.cam2world,
        np.mean(depths, axis=0).astype(np.float32),
    )
