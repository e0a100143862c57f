"""Canonical views corrected by what is known about a photograph: its camera, a measured depth map."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import ReprojectionOptions
from mast3r_engine.alignment.canonical_view import CanonicalView, anchor_positions
from mast3r_engine.alignment.dense_depth import smooth_corrections, spread_to_pixels
from mast3r_engine.view_priors import MeasuredDepth, ViewPriors

Floats = NDArray[np.float64]

OWN_DEPTH_SIGMA = 0.05  # relative; of a network's depth of one pixel against a measured one, after equalising both
FEWEST_MEASURED = 50  # pixels; fewer say nothing about a photograph
WORST_SPREAD = 0.25  # of the logarithm: a depth map that differs more is of another photograph or in another unit per pixel
FINEST_SIGMA = 0.003  # what a measured depth is at best believed
SIGMAS = 3.0


def correct_views(views: Sequence[CanonicalView | None], priors: ViewPriors) -> tuple[list[CanonicalView | None], dict[int, str]]:
    """Views with known cameras and measured depths worked in, and what is wrong with the depth maps that were refused."""
    corrected: list[CanonicalView | None] = []
    refused = {}
    for k, (view, measured) in enumerate(zip(views, priors.depth, strict=True)):
        with_camera = None if view is None else _with_camera(view, k, priors)
        answer = with_camera if with_camera is None or measured is None else _with_depth(with_camera, measured)
        if isinstance(answer, str):
            refused[k] = answer
        corrected.append(with_camera if isinstance(answer, str) else answer)
    return corrected, refused


def without_depths(priors: ViewPriors, refused: Collection[int]) -> ViewPriors:
    """The priors without the depth maps that were refused."""
    return replace(priors, depth=[None if k in refused else measured for k, measured in enumerate(priors.depth)])


def plausible_focal(fitted: float, given: float, given_sigma: float) -> float:
    """The given focal length, unless it is only a prior and the photograph's own fit contradicts it."""
    if not np.isfinite(given):
        return fitted
    if given_sigma == 0:
        return given
    allowed = SIGMAS * np.hypot(ReprojectionOptions.focal_sigma, min(given_sigma, 0.1))
    return given if abs(np.log(given / fitted)) < allowed else fitted


def _with_camera(view: CanonicalView, k: int, priors: ViewPriors) -> CanonicalView:
    """Points on the rays of the known camera, at their depths; a held focal length takes the place of the fitted one."""
    focal, sigma, centre = float(priors.focal[k]), float(priors.focal_sigma[k]), priors.principal_point[k]
    if not np.isfinite(focal):
        return view
    x, y = (float(centre[0]), float(centre[1])) if np.isfinite(centre).all() else view.principal_point
    first = plausible_focal(view.focal, focal, sigma)
    columns, rows = np.meshgrid(np.arange(view.width) - x, np.arange(view.height) - y)
    rays = np.stack([columns / first, rows / first, np.ones_like(rows)], axis=-1)
    points = (rays * view.depth[..., None]).astype(np.float32)
    return replace(view, points=points, principal_point=(x, y), focal=focal if sigma == 0 else view.focal)


def _with_depth(view: CanonicalView, measured: MeasuredDepth) -> CanonicalView | str:
    """The measured depths where they are plausible, elsewhere the canonical ones bent towards them; a reason if refused."""
    known = np.isfinite(measured.depth) & (measured.depth > 0)
    if known.sum() < FEWEST_MEASURED:
        return f"its depth map knows {int(known.sum())} pixels at the network's size, too few to use ({FEWEST_MEASURED})"
    ratio = np.where(known, np.log(np.where(known, measured.depth, 1.0)) - np.log(view.depth), 0.0)
    level = float(np.median(ratio[known]))
    residual = np.where(known, ratio - level, 0.0)
    spread = 1.4826 * float(np.median(np.abs(residual[known])))
    if spread > WORST_SPREAD:
        return f"its depth map was left out: after equalising the scales it differs from the photograph's by {100 * spread:.0f} %"
    variance = OWN_DEPTH_SIGMA**2 + measured.sigma**2
    plausible = np.where(known, 1.0 / (1.0 + residual**2 / (SIGMAS**2 * variance)), 0.0)
    share = plausible * OWN_DEPTH_SIGMA**2 / variance
    field = share * residual + (1 - share) * _smooth_field(view, residual, plausible / measured.sigma**2)
    depth = view.depth.astype(np.float64) * np.exp(field + (level if measured.metric else 0.0))
    anchored = np.where(plausible > 0.5, max(measured.sigma, FINEST_SIGMA), np.nan).astype(np.float32)
    points = (view.points * (depth / view.depth)[..., None]).astype(np.float32)
    return replace(view, points=points, offset=_offset(depth, view.subsample), depth_sigma=anchored)


def _smooth_field(view: CanonicalView, residual: Floats, precision: Floats) -> Floats:  # (H, W)
    """The residuals at the anchors, continued to where nothing was measured."""
    at = np.ix_(view.anchor_rows, view.anchor_columns)
    smooth = smooth_corrections(residual[at], precision[at])
    return np.asarray(np.log(spread_to_pixels(view, smooth).astype(np.float64) / view.depth), np.float64)


def _offset(depth: Floats, subsample: int) -> NDArray[np.float32]:  # (H, W)
    rows, columns = (
        anchor_positions(length, subsample)[np.minimum(np.arange(length) // subsample, (length - 1) // subsample)]
        for length in depth.shape
    )
    return np.asarray(depth / depth[np.ix_(rows, columns)], np.float32)
