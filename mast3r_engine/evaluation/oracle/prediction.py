"""What the oracle predicts for an ordered pair of views: exact geometry plus a network's typical errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mast3r_engine.evaluation.oracle.noise import OracleNoise, shared_noise, smooth_field
from mast3r_engine.evaluation.oracle.scene import OracleScene, visible

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OraclePrediction:
    """One ordered pass: point maps of both views in the frame of the first, and their confidences (> 1)."""

    pts_first: Floats  # (H1, W1, 3)
    conf_first: Floats  # (H1, W1)
    pts_second: Floats  # (H2, W2, 3)
    conf_second: Floats  # (H2, W2)


def predict(scene: OracleScene, first: int, second: int, noise: OracleNoise, seed: int) -> OraclePrediction:
    """Predict the pass (first, second); the same arguments always give the same prediction."""
    pts_first, conf_first = predict_first(scene, first, second, noise, seed)
    pts_second, conf_second = _predict_second(scene, first, second, noise, seed)
    return OraclePrediction(pts_first, conf_first, pts_second, conf_second)


def predict_first(
    scene: OracleScene, first: int, second: int, noise: OracleNoise, seed: int
) -> tuple[Floats, Floats]:  # (H, W, 3), (H, W)
    """Point map of the first view alone."""
    error = _depth_error(scene, first, second, noise, seed)
    points = _stretched_points(scene, first, second, noise, seed) * (1 + error)[..., None] * _scale(first, second, noise, seed)
    return points, _confidence(scene, first, second, error, noise, seed)


def _predict_second(
    scene: OracleScene, first: int, second: int, noise: OracleNoise, seed: int
) -> tuple[Floats, Floats]:  # (H, W, 3), (H, W)
    view, reference = scene.views[second], scene.views[first]
    error = _depth_error(scene, second, first, noise, seed + 1)
    seen = visible(reference, view.world_points().reshape(-1, 3))[1].reshape(view.depth.shape)
    error = np.where(seen, error, error * noise.occluded)
    local = _stretched_points(scene, second, first, noise, seed) * (1 + error)[..., None]
    rng = np.random.default_rng([seed, 303, first, second])
    wobble = Rotation.from_rotvec(np.radians(noise.rotation_degrees) * rng.standard_normal(3)).as_matrix()
    relative = np.linalg.inv(reference.cam2world) @ view.cam2world
    points = local @ (wobble @ relative[:3, :3]).T + relative[:3, 3]
    return points * _scale(first, second, noise, seed), _confidence(scene, second, first, error, noise, seed + 1)


def _scale(first: int, second: int, noise: OracleNoise, seed: int) -> float:
    return float(np.exp(noise.scale * np.random.default_rng([seed, 304, first, second]).standard_normal()))


def _depth_error(scene: OracleScene, first: int, second: int, noise: OracleNoise, seed: int) -> Floats:  # (H, W)
    view = scene.views[first]
    return shared_noise(seed, first, second, 0, view.height, view.width, noise.depth)


def _stretched_points(scene: OracleScene, first: int, second: int, noise: OracleNoise, seed: int) -> Floats:  # (H, W, 3)
    own = np.random.default_rng([seed, 305, first]).standard_normal()
    with_partner = np.random.default_rng([seed, 306, first, second]).standard_normal()
    stretch = 1 + noise.focal * np.sqrt(0.5) * (own + with_partner)
    points: Floats = scene.views[first].points() * np.array([stretch, stretch, 1.0])
    return points


def _confidence(scene: OracleScene, first: int, second: int, error: Floats, noise: OracleNoise, seed: int) -> Floats:  # (H, W)
    view = scene.views[first]
    scatter = smooth_field(np.random.default_rng([seed, 307, first, second]), view.height, view.width, cells=12)
    deserved = 8.0 / (1.0 + 0.15 * view.depth**2) / (1.0 + np.abs(error) / max(noise.depth, 1e-9))
    confidence: Floats = 1.0 + deserved * np.exp(noise.confidence * scatter)
    return confidence
