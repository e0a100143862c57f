"""What is known about the cameras of a component, as terms of the 2D stage: they touch the cameras' own small blocks alone.

Every term is robust (Cauchy): a prior that the photographs contradict loses its weight instead of bending the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.alignment.camera_state import CameraState
from mast3r_engine.alignment.similarity import rotation_log, skew
from mast3r_engine.view_priors import ViewPriors

DOWN = np.array([0.0, 0.0, -1.0])  # in the frame of positions: x east, y north, z up
GRAVITY_SIGMA = np.radians(2.0)  # of an accelerometer in a hand
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

KERNEL_WIDTHS = {1: 2.4, 3: 3.0, 6: 3.6}  # sigmas, by the number of coordinates: what chance exceeds in a few per cent


@dataclass(frozen=True)
class KnownCameras:
    """N views of one component; NaN where nothing is known."""

    views: ViewPriors
    in_given_frame: bool  # poses or positions fix the component's place, size and orientation: there is no gauge left

    @property
    def leaders(self) -> NDArray[np.int64]:  # (N,)
        """The first view of each view's camera; a held one comes first."""
        camera, held = self.views.camera, self.focal_held
        order = np.argsort(~held, kind="stable")
        first = {int(camera[k]): int(k) for k in order[::-1]}
        return np.array([first[int(c)] for c in camera], np.int64)

    @property
    def focal_held(self) -> Booleans:  # (N,)
        return np.asarray(self.views.focal_sigma == 0)

    @property
    def focal_known(self) -> Booleans:  # (N,)
        return np.isfinite(self.views.focal) & np.isfinite(self.views.focal_sigma) & (self.views.focal_sigma > 0)

    def cost(self, state: CameraState) -> float:
        """Robust cost of all terms."""
        return sum(_cauchy_cost(squared, size) for squared, size, _ in self._squares(state))

    def deviations(self, state: CameraState) -> dict[str, Floats]:
        """Sigmas of the state from focal, pose, position and gravity priors, (N,) each; NaN where nothing is known."""
        found = {name: np.full(len(state.log_focal), np.nan) for name in ("focal", "pose", "position", "up")}
        for (squared, _, which), name in zip(self._squares(state), found, strict=True):
            found[name][which] = np.sqrt(squared)
        return found

    def add_to(self, H: Floats, g: Floats, state: CameraState) -> None:
        """Add the terms to the cameras' normal equations, H (N, N, C, C) and g (N, C): rotation, translation, focal first."""
        focal = np.flatnonzero(self.focal_known)
        residual = self._focal_residual(state)
        weight = _cauchy_weight(residual**2, 1) / self.views.focal_sigma[focal] ** 2
        H[focal, focal, 6, 6] += weight
        g[focal, 6] += weight * residual * self.views.focal_sigma[focal]
        self._add_poses(H, g, state)
        self._add_positions(H, g, state)
        self._add_gravity(H, g, state)

    def _add_poses(self, H: Floats, g: Floats, state: CameraState) -> None:
        which = self._pose_known
        residual, information = self._pose_residual(state)
        R = state.rotation[which]
        J = np.zeros((len(R), 6, 6))  # of the residual by a step (rotation, translation) in the camera's own frame
        J[:, :3, 3:] = R
        J[:, 3:, :3] = _inverse_left_jacobian(residual[:, 3:]) @ R
        weight = _cauchy_weight(np.einsum("ka,kab,kb->k", residual, information, residual), 6)[:, None, None]
        weighted = np.swapaxes(J, 1, 2) @ (information * weight)
        H[which[:, None, None], which[:, None, None], np.arange(6)[:, None], np.arange(6)] += weighted @ J
        g[which, :6] += np.einsum("kab,kb->ka", weighted, residual)

    def _add_positions(self, H: Floats, g: Floats, state: CameraState) -> None:
        which = np.flatnonzero(self.views.placed)
        residual = state.centre[which] - self.views.position[which]
        precision = self.views.position_sigma[which] ** -2.0
        weight = _cauchy_weight((residual**2 * precision).sum(1), 3)[:, None] * precision
        R = state.rotation[which]
        across = np.arange(3, 6)
        H[which[:, None, None], which[:, None, None], across[:, None], across] += np.swapaxes(R, 1, 2) @ (weight[..., None] * R)
        g[which, 3:6] += np.einsum("kba,kb->ka", R, weight * residual)

    def _add_gravity(self, H: Floats, g: Floats, state: CameraState) -> None:
        which = np.flatnonzero(self.views.levelled)
        residual = self._gravity_residual(state)
        J = -state.rotation[which] @ skew(self.views.gravity[which]) / GRAVITY_SIGMA  # of the residual by a rotation step
        weighted = np.swapaxes(J, 1, 2) * _cauchy_weight((residual**2).sum(1), 3)[:, None, None]
        turn = np.arange(3)
        H[which[:, None, None], which[:, None, None], turn[:, None], turn] += weighted @ J
        g[which, :3] += np.einsum("kab,kb->ka", weighted, residual)

    def _gravity_residual(self, state: CameraState) -> Floats:  # (K, 3) sigmas
        which = np.flatnonzero(self.views.levelled)
        down = np.einsum("kab,kb->ka", state.rotation[which], self.views.gravity[which])
        return np.asarray((down - DOWN) / GRAVITY_SIGMA)

    def _squares(self, state: CameraState) -> tuple[tuple[Floats, int, NDArray[np.int64]], ...]:
        """Squared distances in sigmas, number of coordinates and views: of focal lengths, poses, positions, gravity."""
        residual, information = self._pose_residual(state)
        placed = np.flatnonzero(self.views.placed)
        away = (state.centre[placed] - self.views.position[placed]) / self.views.position_sigma[placed]
        return (
            (self._focal_residual(state) ** 2, 1, np.flatnonzero(self.focal_known)),
            (np.einsum("ka,kab,kb->k", residual, information, residual), 6, self._pose_known),
            ((away**2).sum(1), 3, placed),
            ((self._gravity_residual(state) ** 2).sum(1), 3, np.flatnonzero(self.views.levelled)),
        )

    def _focal_residual(self, state: CameraState) -> Floats:
        which = self.focal_known
        residual: Floats = (state.log_focal[which] - np.log(self.views.focal[which])) / self.views.focal_sigma[which]
        return residual

    @property
    def _pose_known(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.views.posed & ~self.views.pose_fixed)

    def _pose_residual(self, state: CameraState) -> tuple[Floats, Floats]:  # (K, 6) position, rotation; (K, 6, 6)
        which = self._pose_known
        given = self.views.pose[which]
        turned = rotation_log(state.rotation[which] @ np.swapaxes(given[:, :3, :3], 1, 2))
        residual = np.concatenate([state.centre[which] - given[:, :3, 3], turned], axis=1)
        information = np.asarray(np.linalg.inv(self.views.pose_covariance[which]), np.float64)
        return np.asarray(residual, np.float64), information


def _cauchy_cost(squared: Floats, size: int) -> float:
    width = KERNEL_WIDTHS[size]
    return 0.5 * width**2 * float(np.log1p(squared / width**2).sum())


def _cauchy_weight(squared: Floats, size: int) -> Floats:
    weight: Floats = 1.0 / (1.0 + squared / KERNEL_WIDTHS[size] ** 2)
    return weight


def _inverse_left_jacobian(v: Floats) -> Floats:  # (K, 3) -> (K, 3, 3)
    """Derivative of log(exp(x) exp(v)) by x at 0."""
    angle = np.linalg.norm(v, axis=-1)[:, None, None]
    K = skew(v)
    safe = np.where(angle < 1e-4, 1.0, angle)
    second = np.where(angle < 1e-4, 1 / 12, 1 / safe**2 - (1 + np.cos(safe)) / (2 * safe * np.sin(np.minimum(safe, 3.1))))
    inverse: Floats = np.eye(3) - 0.5 * K + second * (K @ K)
    return inverse
