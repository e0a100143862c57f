"""Rotations and similarities as arrays: closed-form fits, exponential and logarithm, batched.

A similarity is a (4, 4) matrix [[s R, t], [0, 1]].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fit_similarities(
    source: Floats,  # (..., M, 3)
    target: Floats,  # (..., M, 3)
    weights: Floats,  # (..., M)
) -> Floats:  # (..., 4, 4) target = s R source + t
    """Weighted least-squares similarities between point sets (Umeyama, 1991); scale 1 where a source has no extent."""
    w = (weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300))[..., None, :]
    mean_source, mean_target = w @ source, w @ target  # (..., 1, 3)
    centred = source - mean_source
    weighted = centred * np.swapaxes(w, -1, -2)
    covariance = np.swapaxes(target - mean_target, -1, -2) @ weighted
    U, D, Vt = np.linalg.svd(covariance)
    sign = np.ones_like(D)
    sign[..., 2] = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)
    R = (U * sign[..., None, :]) @ Vt
    variance = np.einsum("...mk,...mk->...", weighted, centred)
    s = np.where(variance > 1e-18, (D * sign).sum(-1) / np.maximum(variance, 1e-18), 1.0)
    s = np.where(s > 1e-9, s, 1.0)
    return similarity(s, R, mean_target[..., 0, :] - s[..., None] * (mean_source @ np.swapaxes(R, -1, -2))[..., 0, :])


def similarity(
    s: Floats,  # (...,)
    R: Floats,  # (..., 3, 3)
    t: Floats,  # (..., 3)
) -> Floats:  # (..., 4, 4)
    """Put scale, rotation and translation into one matrix."""
    matrix = np.zeros((*R.shape[:-2], 4, 4))
    matrix[..., :3, :3] = np.asarray(s)[..., None, None] * R
    matrix[..., :3, 3] = t
    matrix[..., 3, 3] = 1.0
    return matrix


def split_similarity(matrix: Floats) -> tuple[Floats, Floats, Floats]:  # (..., 4, 4) -> s (...,), R (..., 3, 3), t (..., 3)
    """Take scale, rotation and translation out of a matrix."""
    s = np.cbrt(np.linalg.det(matrix[..., :3, :3]))
    return s, matrix[..., :3, :3] / s[..., None, None], matrix[..., :3, 3]


def invert_similarity(matrix: Floats) -> Floats:  # (..., 4, 4)
    """Inverse in closed form."""
    s, R, t = split_similarity(matrix)
    back = np.swapaxes(R, -1, -2) / s[..., None, None]
    return similarity(1.0 / s, back * s[..., None, None], -np.einsum("...ab,...b->...a", back, t))


def transform(matrix: Floats, points: Floats) -> Floats:  # (..., 4, 4), (..., M, 3) -> (..., M, 3)
    """Apply similarities to points."""
    moved: Floats = points @ np.swapaxes(matrix[..., :3, :3], -1, -2) + matrix[..., None, :3, 3]
    return moved


def skew(v: Floats) -> Floats:  # (..., 3) -> (..., 3, 3)
    """Cross-product matrices."""
    K = np.zeros((*v.shape[:-1], 3, 3))
    K[..., 0, 1], K[..., 0, 2], K[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    return K - np.swapaxes(K, -1, -2)


def rotation_exp(v: Floats) -> Floats:  # (..., 3) rotation vectors -> (..., 3, 3)
    """Rodrigues' formula."""
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    K = skew(v)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0 - angle**2 / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    R: Floats = np.eye(3) + a * K + b * (K @ K)
    return R


def rotation_log(R: Floats) -> Floats:  # (..., 3, 3) -> (..., 3)
    """Rotation vectors of length up to pi, through the quaternion (stable near pi)."""
    trace = np.trace(R, axis1=-2, axis2=-1)
    # 4 q q^T in the order (w, x, y, z); its largest column gives the quaternion without cancellation
    Q = np.empty((*R.shape[:-2], 4, 4))
    Q[..., 0, 0] = 1 + trace
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        Q[..., k + 1, k + 1] = 1 - trace + 2 * R[..., k, k]
        Q[..., 0, k + 1] = Q[..., k + 1, 0] = R[..., j, i] - R[..., i, j]
        Q[..., i + 1, j + 1] = Q[..., j + 1, i + 1] = R[..., i, j] + R[..., j, i]
    largest = np.argmax(np.diagonal(Q, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(Q, largest[..., None, None], axis=-1)[..., 0]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    v: Floats = np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0) * q[..., 1:]
    return v


def nearest_rotation(M: Floats) -> Floats:  # (..., 3, 3)
    """Closest rotation in the Frobenius norm."""
    U, _, Vt = np.linalg.svd(M)
    sign = np.ones(U.shape[:-1])
    sign[..., 2] = np.where(np.linalg.det(U) * np.linalg.det(Vt) < 0, -1.0, 1.0)
    R: Floats = (U * sign[..., None, :]) @ Vt
    return R
