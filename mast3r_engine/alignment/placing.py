"""After alignment: the scale from known distances, the vertical from gravity or from the largest plane."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.contradictions import SIGMAS, Contradiction
from mast3r_engine.alignment.similarity import nearest_rotation
from mast3r_engine.reconstruction import Alignment
from mast3r_engine.view_priors import DistanceBetween, Placing

Floats = NDArray[np.float64]

OWN_SIGMA = 0.01  # relative: how well an alignment knows the ratio of two distances in it
UP_SIGMA = np.radians(1.0)  # of gravity in one photograph
UP_AXES = {"z": (0.0, 0.0, 1.0), "y": (0.0, 1.0, 0.0), "-y": (0.0, -1.0, 0.0)}
PLANE_POINTS = 20_000
PLANE_SAMPLES = 400
PLANE_THICKNESS = 0.02  # of the scene's typical depth
STEEPEST_GROUND = np.radians(50.0)  # against the photographs' own mean vertical: a wall is no ground
LEAST_PLANE = 0.05  # of the points, more than beside it; less is no plane worth the name


def place(alignment: Alignment, wanted: Placing, seed: int) -> Alignment:
    """Scale and turn every component that the priors do not place already; what does not fit joins the contradictions."""
    told: list[Contradiction] = []
    upright = []
    in_given_unit = len(wanted.distances) > 0
    for number in range(int(alignment.component.max(initial=-1)) + 1):
        members = np.flatnonzero(alignment.component == number)
        given = number == alignment.given_component
        factor, found = _factor(alignment, members, wanted, given and alignment.in_given_unit)
        told += found
        in_given_unit &= any(d.first in members and d.second in members for d in wanted.distances)
        alignment = _scaled(alignment, members, factor * wanted.factor)
        rotation, found = _upright(alignment, members, wanted, seed)
        told += found
        if rotation is not None and not given:
            alignment = _turned(alignment, members, rotation)
            upright.append(number)
    stats = {
        **alignment.stats,
        "upright": upright,
        "contradictions": alignment.stats["contradictions"] + [asdict(c) for c in told],
    }
    return replace(alignment, in_given_unit=alignment.in_given_unit or in_given_unit, stats=stats)


def _factor(alignment: Alignment, members: NDArray[np.int64], wanted: Placing, given: bool) -> tuple[float, list[Contradiction]]:
    """Weighted median of measured over found, and the distances that differ from it."""
    known = [d for d in wanted.distances if d.first in members and d.second in members]
    found = np.array([_distance(alignment, d) for d in known])
    usable = np.isfinite(found) & (found > 1e-12)
    told = [
        Contradiction(d.first, "distance", "a known distance of it could not be used: no depth is known at its pixel", 0.0)
        for d, good in zip(known, usable, strict=True)
        if not good
    ]
    known = [d for d, good in zip(known, usable, strict=True) if good]
    if not known:
        return 1.0, told
    logs = np.log([d.metres for d in known]) - np.log(found[usable])
    sigmas = np.hypot([d.sigma / d.metres for d in known], OWN_SIGMA)
    middle = 0.0 if given else _weighted_median(logs, 1 / sigmas**2)
    for d, log, sigma in zip(known, logs, sigmas, strict=True):
        if abs(log - middle) > SIGMAS * sigma:
            text = f"a known distance of it, {d.metres:g} m, came out {d.metres / np.exp(log - middle):.4g} m"
            told.append(Contradiction(d.first, "distance", text, float(abs(log - middle) / sigma)))
    agree = np.abs(logs - middle) <= SIGMAS * sigmas
    if not given and agree.any():
        middle = float(np.average(logs[agree], weights=sigmas[agree] ** -2.0))
    return float(np.exp(middle)), told


def _distance(alignment: Alignment, d: DistanceBetween) -> float:
    ends = [_point(alignment, view, pixel) for view, pixel in ((d.first, d.first_pixel), (d.second, d.second_pixel))]
    return float(np.linalg.norm(ends[0] - ends[1]))


def _point(alignment: Alignment, view: int, pixel: tuple[float, float] | None) -> Floats:  # (3,) NaN where not known
    """A camera's centre, or what one of its pixels shows."""
    cam2world, K = alignment.cam2world[view], alignment.intrinsics[view]
    if pixel is None:
        centre: Floats = cam2world[:3, 3]
        return centre
    depth = alignment.depth[view]
    x, y = round(pixel[0]), round(pixel[1])
    if not (0 <= y < depth.shape[0] and 0 <= x < depth.shape[1]):
        return np.full(3, np.nan)
    ray = np.array([(pixel[0] - K[0, 2]) / K[0, 0], (pixel[1] - K[1, 2]) / K[1, 1], 1.0])
    point: Floats = cam2world[:3, :3] @ (ray * float(depth[y, x])) + cam2world[:3, 3]
    return point


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    share = np.cumsum(weights[order]) - 0.5 * weights[order]
    return float(np.interp(0.5 * weights.sum(), share, values[order]))


def _scaled(alignment: Alignment, members: NDArray[np.int64], factor: float) -> Alignment:
    if factor == 1.0:
        return alignment
    cam2world, depth = alignment.cam2world.copy(), list(alignment.depth)
    cam2world[members, :3, 3] *= factor
    for k in members:
        depth[k] = depth[k] * np.float32(factor)
    return replace(alignment, cam2world=cam2world, depth=depth)


def _turned(alignment: Alignment, members: NDArray[np.int64], rotation: Floats) -> Alignment:
    cam2world = alignment.cam2world.copy()
    cam2world[members, :3] = rotation @ cam2world[members, :3]
    return replace(alignment, cam2world=cam2world)


def _upright(
    alignment: Alignment, members: NDArray[np.int64], wanted: Placing, seed: int
) -> tuple[Floats | None, list[Contradiction]]:
    """The rotation that brings up onto the wanted axis."""
    told: list[Contradiction] = []
    up: Floats | None = None
    if wanted.gravity is not None:
        up, told = _up_of_gravity(alignment, members[np.isfinite(wanted.gravity[members]).all(1)], wanted.gravity)
    elif wanted.ground_plane:
        up = _up_of_plane(alignment, members, seed)
        if up is None:
            told = [Contradiction(-1, "up", "no plane is large enough to be the ground; the result was not turned", 0.0)]
    return (None if up is None else _rotation_between(up, np.array(UP_AXES[wanted.up_axis]))), told


def _up_of_gravity(alignment: Alignment, known: NDArray[np.int64], gravity: Floats) -> tuple[Floats | None, list[Contradiction]]:
    """Robust mean of the photographs' ups."""
    if len(known) == 0:
        return None, []
    ups = -np.einsum("kab,kb->ka", alignment.cam2world[known, :3, :3], gravity[known])
    mean = ups[int(np.argmin(np.arccos(np.clip(ups @ ups.T, -1, 1)).sum(1)))]  # the one nearest to all others
    for _ in range(10):
        angles = np.arccos(np.clip(ups @ mean, -1, 1))
        mean = (ups / (1 + (angles / (3 * UP_SIGMA)) ** 2)[:, None]).sum(0)
        mean /= np.linalg.norm(mean)
    angles = np.arccos(np.clip(ups @ mean, -1, 1))
    told = [
        Contradiction(int(k), "up", f"its gravity is {np.degrees(a):.1f} degrees from that of the others", float(a / UP_SIGMA))
        for k, a in zip(known, angles, strict=True)
        if a > SIGMAS * UP_SIGMA
    ]
    return mean, told


def _up_of_plane(alignment: Alignment, members: NDArray[np.int64], seed: int) -> Floats | None:
    """Normal of the plane with most points, of those about as level as the photographs; the cameras are above it."""
    points = _sampled_points(alignment, members)
    level = -alignment.cam2world[members, :3, 1].mean(0)
    if len(points) < 100 or np.linalg.norm(level) < 1e-6:
        return None
    level /= np.linalg.norm(level)
    thickness = PLANE_THICKNESS * float(np.median([np.nanmedian(alignment.depth[k]) for k in members]))
    rng = np.random.default_rng([seed, 701])
    best, best_count = None, LEAST_PLANE * len(points)
    for sample in points[rng.integers(0, len(points), (PLANE_SAMPLES, 3))]:
        normal = np.cross(sample[1] - sample[0], sample[2] - sample[0])
        length = np.linalg.norm(normal)
        if length < 1e-12 or abs(normal @ level) / length < np.cos(STEEPEST_GROUND):
            continue
        away = np.abs((points - sample[0]) @ (normal / length)) / thickness
        count = float((away < 1).sum() - ((away >= 1) & (away < 2)).sum())  # a slab through anything has as many beside it
        if count > best_count:
            best, best_count = away < 1, count
    if best is None:
        return None
    for _ in range(3):
        middle = points[best].mean(0)
        normal = np.linalg.eigh(np.cov(points[best].T))[1][:, 0]
        best = np.abs((points - middle) @ normal) < thickness
    centres = alignment.cam2world[members, :3, 3]
    return normal if (centres - middle).mean(0) @ normal > 0 else -normal


def _sampled_points(alignment: Alignment, members: NDArray[np.int64]) -> Floats:  # (P, 3) world
    parts = []
    for k in members:
        depth, K = alignment.depth[k].astype(np.float64), alignment.intrinsics[k]
        step = max(1, int(np.sqrt(depth.size * len(members) / PLANE_POINTS)))
        y, x = (grid[::step, ::step] for grid in np.mgrid[: depth.shape[0], : depth.shape[1]])
        z = depth[y, x]
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(z)], axis=-1)
        points = (rays * z[..., None])[np.isfinite(z) & (z > 0)]
        parts.append(points @ alignment.cam2world[k, :3, :3].T + alignment.cam2world[k, :3, 3])
    return np.concatenate(parts)


def _rotation_between(a: Floats, b: Floats) -> Floats:  # (3, 3) smallest rotation, b = R a
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-12:
        other = np.eye(3)[int(np.argmin(np.abs(a)))]
        half = np.cross(a, other) / np.linalg.norm(np.cross(a, other))
        return 2 * np.outer(half, half) - np.eye(3)
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return nearest_rotation(np.eye(3) + K + K @ K / (1 + cosine))
