"""Into the user's frame: the similarity from an aligned component to the poses and positions that are known of its views."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from mast3r_engine.alignment.known_cameras import DOWN, GRAVITY_SIGMA
from mast3r_engine.alignment.similarity import (
    fit_similarities,
    nearest_rotation,
    rotation_exp,
    rotation_log,
    similarity,
    split_similarity,
)
from mast3r_engine.view_priors import ViewPriors

Floats = NDArray[np.float64]

POSITION_FLOOR = 0.02  # of the views' typical depth: how well a component alone knows where its cameras are
ROTATION_FLOOR = np.radians(0.5)
METRIC_SIGMA = 0.1  # of the logarithm of a metric network's scale
LEAST_EXTENT = 2.0  # sigmas across: positions nearer to a line or a point do not say an orientation
MOST_SAMPLES = 300
KERNEL = 3.0  # sigmas


@dataclass(frozen=True)
class GivenFrame:
    """user's frame = similarity * component's frame; `scaled` when the priors say the size too."""

    similarity: Floats  # (4, 4)
    scaled: bool
    deviation: Floats  # (N,) sigmas between each prior and where the component puts its view; NaN without one
    distance: Floats  # (N,) the same of the centres, in the user's unit


@dataclass(frozen=True)
class _Anchors:
    """K views with a known centre, the first of them with a known orientation too."""

    index: NDArray[np.int64]  # (K,)
    posed: int
    centre: Floats  # (K, 3) in the component
    rotation: Floats  # (K, 3, 3)
    given_centre: Floats  # (K, 3)
    given_rotation: Floats  # (posed, 3, 3)
    sigma: Floats  # (K, 3)
    angle_sigma: Floats  # (posed,)
    down: Floats | None  # (3,) in the component, by the views' gravity


def fit_given_frame(
    poses: Floats,  # (N, 4, 4) similarities component <- view, mean log-scale 0
    depth: float,  # typical of the views, in the component's unit
    priors: ViewPriors,
    *,
    metric: bool,  # the component's unit is about a metre
    seed: int,
) -> GivenFrame | str | None:
    """Fit robustly; a reason where poses and positions are known but do not determine a frame, None where there are none."""
    if not (priors.posed.any() or priors.placed.any()):
        return None
    anchors = _gather(poses, depth, priors)
    if _determines_size(anchors):
        hypotheses = _hypotheses(anchors, seed)
        start = hypotheses[int(np.argmin([_score(anchors, s, R, t) for s, R, t in hypotheses]))]
        s, R, t = _refine(anchors, start, metric)
    elif anchors.posed:
        s, (R, t) = 1.0, _place_rigidly(anchors)
    else:
        return (
            f"{len(anchors.index)} positions on a line, or within their own errors, leave the orientation open; "
            "give three that span a triangle, gravity, or one pose"
        )
    deviation = np.full(len(poses), np.nan)
    deviation[anchors.index] = np.sqrt(_squares(anchors, s, R, t))
    distance = np.full(len(poses), np.nan)
    distance[anchors.index] = np.linalg.norm(s * anchors.centre @ R.T + t - anchors.given_centre, axis=1)
    return GivenFrame(similarity(np.array(s), R, t), _determines_size(anchors), deviation, distance)


def _gather(poses: Floats, depth: float, priors: ViewPriors) -> _Anchors:
    posed, placed = np.flatnonzero(priors.posed), np.flatnonzero(priors.placed)
    index = np.concatenate([posed, placed])
    _, R, C = split_similarity(poses)
    variances = np.diagonal(priors.pose_covariance[posed], axis1=1, axis2=2)
    given_centre = np.concatenate([priors.pose[posed, :3, 3], priors.position[placed]])
    own_extent, extent = (float(np.linalg.norm(_extents(points))) for points in (C[index], given_centre))
    unit = extent / own_extent if min(own_extent, extent) > 1e-9 else 1.0
    sigma = np.concatenate([np.sqrt(variances[:, :3]), priors.position_sigma[placed]])
    return _Anchors(
        index=index,
        posed=len(posed),
        centre=C[index],
        rotation=R[index],
        given_centre=given_centre,
        given_rotation=priors.pose[posed, :3, :3],
        sigma=np.hypot(sigma, POSITION_FLOOR * depth * unit),
        angle_sigma=np.hypot(np.sqrt(variances[:, 3:].mean(1)), ROTATION_FLOOR),
        down=_mean_down(R, priors),
    )


def _mean_down(R: Floats, priors: ViewPriors) -> Floats | None:
    """Robust mean of the views' down directions in the component; None where no gravity counts."""
    which = np.flatnonzero(priors.levelled)
    if len(which) == 0:
        return None
    downs = np.einsum("kab,kb->ka", R[which], priors.gravity[which])
    mean = downs[int(np.argmin(np.arccos(np.clip(downs @ downs.T, -1, 1)).sum(1)))]
    near = downs[downs @ mean > np.cos(KERNEL * 2 * GRAVITY_SIGMA)].sum(0)
    return np.asarray(near / np.linalg.norm(near))


def _determines_size(anchors: _Anchors) -> bool:
    """Whether the centres have an extent that says a size and, where no orientation is known, two of them."""
    extent = _extents(anchors.given_centre / anchors.sigma)
    own = _extents(anchors.centre)
    needed = 1 if anchors.posed or anchors.down is not None else 2
    return bool(len(anchors.index) > needed and extent[needed - 1] > LEAST_EXTENT and own[needed - 1] > 1e-6 * own[0])


def _extents(points: Floats) -> Floats:  # (3,) root mean square along the principal axes
    values = np.linalg.eigvalsh(np.cov(points.T, bias=True))[::-1] if len(points) > 1 else np.zeros(3)
    extents: Floats = np.sqrt(np.maximum(values, 0.0))
    return extents


def _hypotheses(anchors: _Anchors, seed: int) -> list[tuple[float, Floats, Floats]]:
    """Similarities from smallest sets: a pose and another centre, or three centres."""
    found = [_from_pose(anchors, k, m) for k in range(anchors.posed) for m in range(len(anchors.index)) if k != m]
    if anchors.down is not None:
        pairs = combinations(range(min(len(anchors.index), 40)), 2)
        found = [hypothesis for k, m in pairs if (hypothesis := _from_gravity(anchors, k, m)) is not None]
    elif not anchors.posed:
        triples = np.array(list(combinations(range(min(len(anchors.index), 40)), 3)))
        fits = fit_similarities(anchors.centre[triples], anchors.given_centre[triples], np.ones(triples.shape))
        found = [(float(s), R, t) for s, R, t in zip(*split_similarity(fits), strict=True)]
        everything = fit_similarities(anchors.centre, anchors.given_centre, np.ones(len(anchors.centre)))
        found.append((float(split_similarity(everything)[0]), *split_similarity(everything)[1:]))
    if len(found) > MOST_SAMPLES:
        chosen = np.random.default_rng([seed, len(found)]).choice(len(found), MOST_SAMPLES, replace=False)
        found = [found[k] for k in chosen]
    return found


def _from_pose(anchors: _Anchors, k: int, m: int) -> tuple[float, Floats, Floats]:
    R = nearest_rotation(anchors.given_rotation[k] @ anchors.rotation[k].T)
    own = np.linalg.norm(anchors.centre[m] - anchors.centre[k])
    given = np.linalg.norm(anchors.given_centre[m] - anchors.given_centre[k])
    s = float(given / own) if min(own, given) > 1e-9 else 1.0
    return s, R, anchors.given_centre[k] - s * R @ anchors.centre[k]


def _from_gravity(anchors: _Anchors, k: int, m: int) -> tuple[float, Floats, Floats] | None:
    """From two centres and the vertical; None where the centres stand one above the other."""
    assert anchors.down is not None
    own, given = anchors.centre[m] - anchors.centre[k], anchors.given_centre[m] - anchors.given_centre[k]
    bases = [_basis(anchors.down, own), _basis(DOWN, given)]
    if bases[0] is None or bases[1] is None:
        return None
    R = bases[1] @ bases[0].T
    s = float(np.linalg.norm(given) / np.linalg.norm(own))
    return s, R, anchors.given_centre[k] - s * R @ anchors.centre[k]


def _basis(down: Floats, along: Floats) -> Floats | None:  # (3, 3) columns: down, what is level of `along`, across
    level = along - (along @ down) * down
    length = np.linalg.norm(level)
    if length < 1e-9 or length < 0.1 * np.linalg.norm(along):
        return None
    level /= length
    return np.stack([down, level, np.cross(down, level)], axis=1)


def _whitened(anchors: _Anchors, s: float, R: Floats, t: Floats) -> Floats:  # (K, 6) position, rotation; in sigmas
    away = np.zeros((len(anchors.index), 6))
    away[:, :3] = (s * anchors.centre @ R.T + t - anchors.given_centre) / anchors.sigma
    turned = rotation_log(R @ anchors.rotation[: anchors.posed] @ np.swapaxes(anchors.given_rotation, 1, 2))
    away[: anchors.posed, 3:] = turned / anchors.angle_sigma[:, None]
    return away


def _squares(anchors: _Anchors, s: float, R: Floats, t: Floats) -> Floats:  # (K,)
    squares: Floats = (_whitened(anchors, s, R, t) ** 2).sum(1)
    return squares


def _score(anchors: _Anchors, s: float, R: Floats, t: Floats) -> float:
    tilt = 0.0 if anchors.down is None else float((((R @ anchors.down - DOWN) / GRAVITY_SIGMA) ** 2).sum())
    return float(np.log1p(np.append(_squares(anchors, s, R, t), tilt) / KERNEL**2).sum())


def _refine(anchors: _Anchors, start: tuple[float, Floats, Floats], metric: bool) -> tuple[float, Floats, Floats]:
    """Least squares with Cauchy's kernel on seven parameters; a metric network's own scale counts as a measurement."""
    s0, R0, t0 = start
    middle = anchors.centre.mean(0)
    moved = s0 * R0 @ middle + t0

    def unpack(x: Floats) -> tuple[float, Floats, Floats]:
        s, R = s0 * float(np.exp(np.clip(x[6], -5, 5))), rotation_exp(x[:3]) @ R0
        return s, R, moved + x[3:6] - s * R @ middle

    def residuals(x: Floats) -> Floats:
        s, R, t = unpack(x)
        away = _whitened(anchors, s, R, t)
        squares = np.maximum((away**2).sum(1), 1e-18)
        robust = np.sqrt(KERNEL**2 * np.log1p(squares / KERNEL**2) / squares)
        tilt = np.zeros(3) if anchors.down is None else (R @ anchors.down - DOWN) / GRAVITY_SIGMA
        return np.concatenate([(away * robust[:, None]).ravel(), tilt, [np.log(s) / METRIC_SIGMA if metric else 0.0]])

    scale = np.concatenate([np.full(3, ROTATION_FLOOR), np.full(3, float(anchors.sigma.mean())), [0.01]])
    x = least_squares(residuals, np.zeros(7), x_scale=scale, max_nfev=200).x
    return unpack(x)


def _place_rigidly(anchors: _Anchors) -> tuple[Floats, Floats]:
    """Rotation and translation from poses at one place."""
    turned = anchors.given_rotation @ np.swapaxes(anchors.rotation[: anchors.posed], 1, 2)
    R = nearest_rotation(turned.sum(0))
    return R, (anchors.given_centre - anchors.centre @ R.T).mean(0)
