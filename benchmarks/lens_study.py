"""What a known lens brings: alignment of the oracle's scene seen through a lens, as if it were a pinhole and undistorted.

The photographs' pixels are moved by the lens and by what is believed of it: canonical views are resampled there, matches are
moved there and rounded. Nothing else differs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mast3r_engine import Lens
from mast3r_engine.alignment import CanonicalAccumulator, CanonicalView, align_sparse
from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.oracle import OracleNoise, OracleScene, complete_graph, make_scene, oracle_matches
from mast3r_engine.evaluation.oracle.prediction import predict_first
from mast3r_engine.evaluation.trajectory import trajectory_errors
from mast3r_engine.options import AlignmentOptions
from mast3r_engine.undistortion import in_original, in_undistorted
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]

H, W, VIEWS = 96, 128, 5
BROWN, FISHEYE = (-0.25, 0.06, 1e-3, -5e-4), (0.03, -0.01, 0.002, 0.0)


def study_lens(model: str, seed: int) -> tuple[float, float, float, list[str]]:
    """ATE in millimetres taken for a pinhole, undistorted, and undistorted with half the true coefficients."""
    scene = make_scene(VIEWS, H, W, seed=seed)
    true = [_lens(scene, k, model) for k in range(VIEWS)]
    if model == "OPENCV_FISHEYE":
        believed = [replace(lens, model="OPENCV", params=(*lens.params[:4], *BROWN)) for lens in true]
    else:
        believed = [_lens(scene, k, model, 0.5) for k in range(VIEWS)]
    errors = []
    for lenses in (None, true, believed):
        views, matches = _seen_through(scene, true, lenses, seed)
        priors = ViewPriors.none(VIEWS)
        if lenses is not None:
            priors = replace(priors, focal=np.array([lens.focals[0] for lens in true]), focal_sigma=np.zeros(VIEWS))
        found = align_sparse(views, matches, AlignmentOptions(), metric=True, seed=0, priors=priors)
        errors.append(1e3 * trajectory_errors(found.cam2world, np.stack([v.cam2world for v in scene.views])).ate)
        told = [c["message"] for c in found.stats["contradictions"]]
    return errors[0], errors[1], errors[2], told


def _lens(scene: OracleScene, k: int, model: str, share: float = 1.0) -> Lens:
    f = scene.views[k].K[0, 0]
    distortion = FISHEYE if model == "OPENCV_FISHEYE" else tuple(share * c for c in BROWN)
    return Lens(model, (f, f, (W - 1) / 2, (H - 1) / 2, *distortion), W, H)


def _seen_through(
    scene: OracleScene, true: list[Lens], believed: list[Lens] | None, seed: int
) -> tuple[list[CanonicalView | None], list[PairMatches]]:
    """Canonical views and matches in the pixels that the network would be shown."""
    grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), axis=-1).astype(np.float64)
    views: list[CanonicalView | None] = []
    for k in range(VIEWS):
        original = grid if believed is None else in_original(grid, believed[k])[0]
        pinhole = np.nan_to_num(in_undistorted(original, true[k]), nan=-1.0)
        gathered = CanonicalAccumulator(H, W, 8)
        for partner in (j for j in range(VIEWS) if j != k):
            points, conf = predict_first(scene, k, partner, OracleNoise(), seed)
            there = [pinhole[..., 1], pinhole[..., 0]]
            moved = [map_coordinates(points[..., c], there, order=0, mode="nearest") for c in range(3)]
            gathered.add(np.stack(moved, axis=-1), map_coordinates(conf, there, order=0, mode="nearest"))
        views.append(gathered.finish())
    found = oracle_matches(scene, complete_graph(VIEWS), OracleNoise(), seed=seed)
    return views, [_moved(pair, true, believed) for pair in found]


def _moved(pair: PairMatches, true: list[Lens], believed: list[Lens] | None) -> PairMatches:
    sides: list[NDArray[np.float64]] = []
    for image, pixels in ((pair.i, pair.xy_i), (pair.j, pair.xy_j)):
        original, _ = in_original(pixels.astype(np.float64), true[image])
        sides.append(original if believed is None else in_undistorted(original, believed[image]))
    inside = np.ones(len(pair), bool)
    for xy in sides:
        inside &= np.isfinite(xy).all(1) & (xy > -0.5).all(1) & (xy < np.array([W, H]) - 0.5).all(1)
    xy_i, xy_j = (np.rint(xy[inside]).astype(np.int64) for xy in sides)
    return PairMatches(pair.i, pair.j, xy_i, xy_j, pair.conf[inside])
