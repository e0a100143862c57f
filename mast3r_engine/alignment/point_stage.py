"""The 3D stage: poses and scales of a component from the distances between matched canonical points.

A point is linear in s R and t, so with fixed weights a pair enters through 4 x 4 moments of its matches alone: an inner step
costs the same for ten matches and for ten thousand (spec: Gauss-Newton on 7 degrees of freedom per image).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.order_statistics import median
from mast3r_engine.alignment.pair_geometry import PairGeometry
from mast3r_engine.alignment.similarity import rotation_exp, similarity, split_similarity

Floats = NDArray[np.float64]

OUTER_ROUNDS = 8  # new robust weights, at most
CONVERGED = 1e-3  # relative fall of the cost below which another round is not worth it
INNER_STEPS = 3  # Gauss-Newton steps with these weights
SMALLEST_SCALE = 1e-7  # of the depth: errors below it are rounding


@dataclass(frozen=True)
class PointStageResult:
    """Similarities world <- view, and the robust cost before each outer round."""

    poses: Floats  # (N, 4, 4)
    costs: list[float]


def refine_on_points(
    poses: Floats,  # (N, 4, 4) similarities world <- view
    pairs: Sequence[PairGeometry],
    root: int,
) -> PointStageResult:
    """Refine similarities; the root's rotation and position and the mean logarithm of the scales stay (the gauge)."""
    i = np.array([p.i for p in pairs])
    j = np.array([p.j for p in pairs])
    costs = []
    members = [_inliers(pair) for pair in pairs]
    for _ in range(OUTER_ROUNDS):
        moments, cost = _moments(poses, pairs, members)
        costs.append(cost)
        if len(costs) > 1 and costs[-2] - cost <= CONVERGED * costs[-2]:
            break
        for _ in range(INNER_STEPS):
            poses = _step(poses, i, j, moments, root)
    return PointStageResult(poses, costs)


@dataclass(frozen=True)
class _Inliers:
    """A pair's n inliers as homogeneous points, coordinates first."""

    p: Floats  # (4, n) of image i
    q: Floats  # (4, n) of image j
    inverse_depth: Floats  # (n,) of the geometric mean of both depths
    weights: Floats  # (n,)


def _inliers(pair: PairGeometry) -> _Inliers:
    p, q = np.ones((2, 4, int(pair.inliers.sum())))
    p[:3], q[:3] = pair.points.points_i[pair.inliers].T, pair.points.points_j[pair.inliers].T
    return _Inliers(p, q, 1.0 / np.sqrt(p[2] * q[2]), pair.weights[pair.inliers])


def _moments(poses: Floats, pairs: Sequence[PairGeometry], members: Sequence[_Inliers]) -> tuple[Floats, float]:
    """Weighted moments (E, 3, 4, 4) of homogeneous points: ii, ij, jj; and the robust cost in units of relative depth."""
    moments = np.empty((len(pairs), 3, 4, 4))
    cost = 0.0
    for e, (pair, inliers) in enumerate(zip(pairs, members, strict=True)):
        p, q = inliers.p, inliers.q
        away = poses[pair.i, :3] @ p - poses[pair.j, :3] @ q
        relative = np.sqrt(np.einsum("km,km->m", away, away)) * inliers.inverse_depth
        scale = max(2.5 * median(relative), SMALLEST_SCALE)
        squared = (relative / scale) ** 2
        cost += float(inliers.weights @ np.log1p(squared)) * scale**2
        weight = inliers.weights / (1.0 + squared) * inliers.inverse_depth**2
        wp, wq = p * weight, q * weight
        moments[e] = wp @ p.T, wp @ q.T, wq @ q.T
    return moments, cost


def _step(poses: Floats, i: NDArray[np.int64], j: NDArray[np.int64], moments: Floats, root: int) -> Floats:  # (N, 4, 4)
    H, g = point_normal_equations(poses, i, j, moments)
    views = len(poses)
    scales = np.arange(views) * 7 + 6
    stiff = 1e3 * max(float(np.trace(H)), 1e-12) / views**2
    H[np.ix_(scales, scales)] += stiff  # the mean of the log-scales does not move
    free = np.ones(7 * views, bool)
    free[7 * root : 7 * root + 6] = False
    reduced = H[np.ix_(free, free)]
    reduced[np.diag_indices_from(reduced)] += 1e-10 * np.diagonal(reduced).mean() + 1e-300
    step = np.zeros(7 * views)
    step[free] = -np.linalg.solve(reduced, g[free])
    return _apply(poses, step.reshape(views, 7))


def point_normal_equations(
    poses: Floats,  # (N, 4, 4)
    i: NDArray[np.int64],  # (E,)
    j: NDArray[np.int64],  # (E,)
    moments: Floats,  # (E, 3, 4, 4)
) -> tuple[Floats, Floats]:  # (7N, 7N), (7N,)
    """Gauss-Newton normal equations of sum w |y_i - y_j|^2 / 2 for steps (rotation, translation, log-scale) about the centres.

    With y = S p a step moves y by w x (y - C) + v + u (y - C): J = [-[y - C]x, I, y - C], linear in the homogeneous point, so
    J = G p and J^T J = G^T (sum w p p^T) G.
    """
    G = _jacobian_tensor(poses)  # (N, 3, 7, 4)
    S = poses[:, :3, :]  # (N, 3, 4)
    ii, ij, jj = moments[:, 0], moments[:, 1], moments[:, 2]
    H = np.zeros((len(poses), len(poses), 7, 7))
    g = np.zeros((len(poses), 7))
    Gi, Gj, Si, Sj = G[i], G[j], S[i], S[j]
    np.add.at(H, (i, i), np.einsum("erpa,eab,erqb->epq", Gi, ii, Gi, optimize=True))
    np.add.at(H, (j, j), np.einsum("erpa,eab,erqb->epq", Gj, jj, Gj, optimize=True))
    cross = -np.einsum("erpa,eab,erqb->epq", Gi, ij, Gj, optimize=True)
    np.add.at(H, (i, j), cross)
    np.add.at(H, (j, i), np.swapaxes(cross, 1, 2))
    residual_i = np.einsum("era,eab->erb", Si, ii) - np.einsum("era,eba->erb", Sj, ij)  # sum w r p^T
    residual_j = np.einsum("era,eab->erb", Si, ij) - np.einsum("era,eab->erb", Sj, jj)  # sum w r q^T
    np.add.at(g, i, np.einsum("erpb,erb->ep", Gi, residual_i))
    np.add.at(g, j, -np.einsum("erpb,erb->ep", Gj, residual_j))
    return np.swapaxes(H, 1, 2).reshape(7 * len(poses), -1).copy(), g.ravel()


def _jacobian_tensor(poses: Floats) -> Floats:  # (N, 3, 7, 4): [coordinate, parameter, homogeneous point]
    views = len(poses)
    A = poses[:, :3, :3]  # y - C = A p
    G = np.zeros((views, 3, 7, 4))
    G[:, 0, 1, :3], G[:, 0, 2, :3] = A[:, 2], -A[:, 1]  # w x a = (w1 a2 - w2 a1, w2 a0 - w0 a2, w0 a1 - w1 a0)
    G[:, 1, 2, :3], G[:, 1, 0, :3] = A[:, 0], -A[:, 2]
    G[:, 2, 0, :3], G[:, 2, 1, :3] = A[:, 1], -A[:, 0]
    for axis in range(3):
        G[:, axis, 3 + axis, 3] = 1.0
    G[:, :, 6, :3] = A
    return G


def _apply(poses: Floats, step: Floats) -> Floats:  # (N, 4, 4), (N, 7)
    s, R, t = split_similarity(poses)
    return similarity(s * np.exp(np.clip(step[:, 6], -1, 1)), rotation_exp(step[:, :3]) @ R, t + step[:, 3:6])
