"""Tracks found in all photographs that show their point, at sub-pixel accuracy.

Matches stand on whole pixels and few of them meet. For each track the photograph that sees its point largest lends a patch; the
depth there gives the map of its pixels into every other photograph, and Gauss-Newton on the brightness finds what shift is left
(Lucas and Kanade, 1981; gain and offset free, as in Baker and Matthews, 2004, section 5). What does not converge, moves far or
does not look alike is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mast3r_engine.tracks.triangulation import Cameras, Observations

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RADIUS = 4  # network pixels: patches of 9x9
BLUR = 0.7  # pixels; a gradient that is taken between pixels needs it
STEPS = 8
FARTHEST = 1.5  # pixels from where the match or the cameras say
SETTLED = 0.02  # pixels: the last step of what has converged
ALIKE = 0.8  # correlation of the patches
LEAST_CONTRAST = 2.0  # of 255, standard deviation in a patch
HIDDEN = 0.05  # of the depth: farther behind the photograph's surface than this is not seen
AT_ONCE = 20_000  # patches; some 100 MB


def find_tracks(
    seen: Observations,
    points: Floats,  # (T, 3) in the world
    cameras: Cameras,
    depth: Sequence[NDArray[np.float32]],  # N of (h, w)
    pixels: Sequence[NDArray[np.uint8]],  # N of (h, w, 3)
) -> tuple[Observations, Integers]:  # and (T',) which of the tracks each is; those that one photograph alone shows are left out
    """Look for each track's patch in every registered photograph; its own place in the lending one is a whole pixel."""
    brightness = [gaussian_filter(image.astype(np.float32).mean(axis=2), BLUR) for image in pixels]
    lender = _lenders(seen, points, cameras)
    image, xy = seen.image[lender], seen.xy[lender]
    found = [(np.arange(len(points)), image, xy)]
    for i in map(int, np.flatnonzero(np.isfinite(cameras.cam2world).all(axis=(1, 2)))):
        start = _expected(i, seen, points, cameras, depth[i])
        candidates = np.flatnonzero(np.isfinite(start).all(axis=1) & (image != i))
        for first in range(0, len(candidates), AT_ONCE):
            part = candidates[first : first + AT_ONCE]
            there, good = _find(i, start[part], image[part], xy[part], cameras, depth, brightness)
            found.append((part[good], np.full(good.sum(), i), there[good]))
    track, image, xy = (np.concatenate(parts) for parts in zip(*found, strict=True))
    several = np.bincount(track, minlength=len(points))[track] >= 2
    order = np.lexsort((image, track))
    order = order[several[order]]
    left, numbered = np.unique(track[order], return_inverse=True)
    return Observations(numbered, image[order], xy[order], _depth_at(depth, image[order], xy[order])), left


def _lenders(seen: Observations, points: Floats, cameras: Cameras) -> Integers:  # (T,)
    """For each track the observation whose photograph shows the point largest."""
    size = cameras.K[seen.image, 0, 0] / np.maximum(cameras.to_camera(seen.image, points[seen.track])[:, 2], 1e-9)
    order = np.lexsort((-size, seen.track))
    return order[seen.starts]


def _expected(i: int, seen: Observations, points: Floats, cameras: Cameras, depth: NDArray[np.float32]) -> Floats:  # (T, 2)
    """Where photograph i is to be looked at: at the match, else where the cameras put the point; NaN outside or hidden."""
    everyone = np.full(len(points), i)
    start = cameras.project(everyone, points)
    z = cameras.to_camera(everyone, points)[:, 2]
    matched = np.flatnonzero(seen.image == i)
    start[seen.track[matched]] = seen.xy[matched]
    h, w = depth.shape
    with np.errstate(invalid="ignore"):
        outside = (start < RADIUS).any(axis=1) | (start[:, 0] > w - 1 - RADIUS) | (start[:, 1] > h - 1 - RADIUS)
    start[outside] = np.nan
    surface = _depth_at([depth], np.zeros(len(points), np.int64), np.nan_to_num(start, nan=-1.0))
    with np.errstate(invalid="ignore"):
        start[~(np.abs(z / surface - 1) <= HIDDEN)] = np.nan
    return start


def _find(
    i: int,
    start: Floats,  # (n, 2) pixels of photograph i
    image: Integers,  # (n,) photographs that lend the patches
    xy: Floats,  # (n, 2) their middles
    cameras: Cameras,
    depth: Sequence[NDArray[np.float32]],
    brightness: Sequence[NDArray[np.float32]],
) -> tuple[Floats, NDArray[np.bool_]]:  # (n, 2), (n,)
    offsets = np.stack(np.meshgrid(*(np.arange(-RADIUS, RADIUS + 1.0),) * 2), axis=-1).reshape(-1, 2)  # (p, 2)
    affine = _affine(i, image, xy, cameras, depth)
    wanted = _sample(brightness, image, xy[:, None] + offsets)
    contrast = wanted.std(axis=1)
    wanted = wanted - wanted.mean(axis=1, keepdims=True)
    places = start[:, None] + np.einsum("nij,pj->npi", np.nan_to_num(affine), offsets)
    layers = np.stack([brightness[i], *np.gradient(brightness[i])[::-1]])  # with d/dx and d/dy
    shift, step, likeness = np.zeros_like(start), np.full(len(start), np.inf), np.zeros(len(start))
    usable = np.isfinite(affine).all(axis=(1, 2)) & (contrast >= LEAST_CONTRAST)
    active = np.flatnonzero(usable)
    for _ in range(STEPS):
        move, likeness[active] = _step(layers, places[active] + shift[active, None], wanted[active])
        shift[active] += move
        step[active] = np.abs(move).max(axis=1)
        far = np.linalg.norm(shift[active], axis=1) > 2 * FARTHEST
        active = active[(step[active] > SETTLED) & ~far]
        if not len(active):
            break
    good = usable & (step <= SETTLED) & (np.linalg.norm(shift, axis=1) <= FARTHEST) & (likeness >= ALIKE)
    return start + shift, good


def _step(
    layers: NDArray[np.float32],  # (3, h, w) brightness and its slopes
    at: Floats,  # (n, p, 2)
    wanted: Floats,  # (n, p) without its mean
) -> tuple[Floats, Floats]:  # (n, 2) shift, (n,) correlation before it
    """One step of Gauss-Newton on brightness, with the gain that fits best."""
    shown, *slopes = _bilinear(layers, at)
    shown = shown - shown.mean(axis=1, keepdims=True)
    slope = np.stack([each - each.mean(axis=1, keepdims=True) for each in slopes], axis=-1)  # (n, p, 2)
    power = np.maximum((shown**2).sum(axis=1), 1e-9)
    gain = (shown * wanted).sum(axis=1) / power
    likeness = gain * np.sqrt(power) / np.maximum(np.sqrt((wanted**2).sum(axis=1)), 1e-9)
    rows = gain[:, None, None] * slope
    normal = rows.transpose(0, 2, 1) @ rows + 1e-6 * np.eye(2)
    right = np.einsum("npi,np->ni", rows, wanted - gain[:, None] * shown)
    return np.clip(np.linalg.solve(normal, right[..., None])[..., 0], -1.0, 1.0), likeness


def _affine(
    i: int,
    image: Integers,
    xy: Floats,
    cameras: Cameras,
    depth: Sequence[NDArray[np.float32]],
) -> Floats:  # (n, 2, 2) d(pixel of photograph i) / d(pixel here)
    """How patches are stretched on their way to photograph i: by their depths two pixels to each side; NaN where unknown."""
    there, ends = np.full(len(image), i), []
    for step in ((2, 0), (-2, 0), (0, 2), (0, -2)):
        z = _depth_at(depth, image, xy + step)
        ends.append(cameras.project(there, cameras.lift(image, xy + step, z)))
    found: Floats = np.stack([(ends[0] - ends[1]) / 4, (ends[2] - ends[3]) / 4], axis=-1)
    size = np.abs(np.linalg.det(np.nan_to_num(found)))
    found[(size < 1 / 9) | (size > 9)] = np.nan  # across an edge of depth, or too different to be compared
    return found


def _depth_at(depth: Sequence[NDArray[np.float32]], image: NDArray[np.int64], xy: Floats) -> Floats:
    z = np.full(len(image), np.nan)
    for i in np.unique(image):
        mine = np.flatnonzero(image == i)
        h, w = depth[i].shape
        x, y = np.rint(xy[mine]).astype(np.int64).T
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        z[mine[inside]] = depth[i][y[inside], x[inside]]
    return z


def _sample(maps: Sequence[NDArray[np.float32]], image: NDArray[np.int64], xy: Floats) -> Floats:  # (n, p, 2) -> (n, p)
    """Bilinear; beyond the edge, the edge."""
    values = np.empty(xy.shape[:2])
    for i in np.unique(image):
        mine = image == i
        at = np.nan_to_num(xy[mine])
        values[mine] = map_coordinates(maps[i], [at[..., 1], at[..., 0]], order=1, mode="nearest")
    return values


def _bilinear(layers: NDArray[np.float32], xy: Floats) -> Floats:  # (L, h, w), (n, p, 2) -> (L, n, p)
    """All layers at the same places; beyond the edge, the edge."""
    _, h, w = layers.shape
    x, y = np.clip(xy[..., 0], 0, w - 1), np.clip(xy[..., 1], 0, h - 1)
    left, top = np.minimum(x.astype(np.int64), w - 2), np.minimum(y.astype(np.int64), h - 2)
    dx, dy = (x - left)[None], (y - top)[None]
    flat, at = layers.reshape(len(layers), -1), top * w + left
    above = flat[:, at] * (1 - dx) + flat[:, at + 1] * dx
    below = flat[:, at + w] * (1 - dx) + flat[:, at + w + 1] * dx
    values: Floats = above * (1 - dy) + below * dy
    return values
