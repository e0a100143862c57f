"""The statistical model behind the refined pose: unknowns, noise, robust loss and normal equations.

A match's residual has white pixel noise plus white depth noise along the direction in which depth moves it, with Student-t tails.
Depth maps also err smoothly and by a common factor; both are unknowns with a prior, so that the pose's covariance carries them.
Both directions see the same two pixels: each counts half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.depth_field import spline_basis
from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.reprojection import SHARED, Direction, query_to_reference, reference_to_query
from mast3r_engine.localisation.rigid_motion import perturb_left

Floats = NDArray[np.float64]
Directions = tuple[Direction, Direction]  # reference -> query, query -> reference

TAIL = 4.0  # degrees of freedom of the Student-t distribution; 4 suits matches with a few per cent of gross errors
FIXED = 1e12  # prior precision of what is known exactly


@dataclass(frozen=True)
class Noise:
    """Standard deviations."""

    pixel: float  # network pixels per axis
    depth: float  # white relative depth error per match
    field: float  # smooth relative depth error
    scale: float  # common relative depth error of a decoder pass
    log_focals: tuple[float, float]  # of the reference's and the query's focal length; 0: known


@dataclass(frozen=True)
class PoseState:
    """Values of the unknowns."""

    pose: Floats  # (4, 4) query2reference
    log_focals: Floats  # (2,)
    depth_reference: Floats  # (1 + n,) log scale, then spline coefficients of the reference's depth error
    depth_query: Floats  # (1 + m,)

    def moved(self, step: Floats) -> PoseState:  # (SHARED + 1 + n + 1 + m,)
        """The state after a step of all unknowns."""
        split = SHARED + len(self.depth_reference)
        return PoseState(
            perturb_left(self.pose, step[:6]),
            self.log_focals + step[6:SHARED],
            self.depth_reference + step[SHARED:split],
            self.depth_query + step[split:],
        )

    def nuisance(self) -> Floats:
        """All unknowns but the pose, in their order."""
        return np.concatenate([self.log_focals, self.depth_reference, self.depth_query])


@dataclass(frozen=True)
class PoseModel:
    """One pair's matches with the bases of their depth errors."""

    pair: PairObservation
    basis_reference: Floats  # (M, 1 + n)
    basis_query: Floats  # (M, 1 + m)

    def take(self, keep: NDArray[np.bool_]) -> PoseModel:  # (M,)
        """The same model with a part of its matches."""
        return PoseModel(self.pair.take(keep), self.basis_reference[keep], self.basis_query[keep])

    def start(self, pose: Floats) -> PoseState:  # (4, 4)
        """No corrections yet."""
        zeros = (np.zeros(self.basis_reference.shape[1]), np.zeros(self.basis_query.shape[1]))
        return PoseState(pose, np.zeros(2), *zeros)

    def directions(self, state: PoseState) -> Directions:
        """Residuals of both directions."""
        forward = reference_to_query(self.pair, state.pose, state.log_focals, self.basis_reference @ state.depth_reference)
        backward = query_to_reference(self.pair, state.pose, state.log_focals, self.basis_query @ state.depth_query)
        return forward, backward

    def prior_precision(self, noise: Noise) -> Floats:  # (unknowns,) zero for the pose
        """Diagonal of the prior."""
        focals = [1 / sigma**2 if sigma > 0 else FIXED for sigma in noise.log_focals]
        depths = [np.full(basis.shape[1], 1 / noise.field**2) for basis in (self.basis_reference, self.basis_query)]
        for precision in depths:
            precision[0] = 1 / noise.scale**2
        return np.concatenate([np.zeros(6), focals, *depths])

    def prior_cost(self, state: PoseState, noise: Noise) -> float:
        """What the corrections of depths and focal lengths cost."""
        return 0.5 * float(self.prior_precision(noise)[6:] @ state.nuisance() ** 2)

    def cost(self, state: PoseState, directions: Directions, noise: Noise) -> float:
        """Negative log posterior but for constants of the noise; `directions` are the state's."""
        total = self.prior_cost(state, noise)
        for direction in directions:
            squared = whitened_square(direction, noise)
            total += 0.25 * (TAIL + 2) * float(np.log1p(squared[direction.front] / TAIL).sum())
            total += 1e3 * float((~direction.front).sum())  # no step may hide points behind a camera
        return total

    def normal_equations(self, state: PoseState, directions: Directions, noise: Noise) -> tuple[Floats, Floats]:  # (u, u), (u,)
        """Gauss-Newton Hessian with the robust weights, and gradient."""
        precision = self.prior_precision(noise)
        H = np.diag(precision)
        g = np.concatenate([np.zeros(6), precision[6:] * state.nuisance()])
        for direction, basis, block in self._blocks(directions):
            whitener = inverse_covariance(direction, noise)
            weight = 0.5 * robust_weight(whitened_square(direction, noise)) * direction.front
            weighted = whitener * weight[:, None, None]  # (M, 2, 2)
            by_shared = weighted @ direction.by_shared  # (M, 2, SHARED)
            by_error = (weighted @ direction.by_depth_error[:, :, None])[:, :, 0]  # (M, 2)
            H[:SHARED, :SHARED] += direction.by_shared.reshape(-1, SHARED).T @ by_shared.reshape(-1, SHARED)
            H[block, block] += (basis * (by_error * direction.by_depth_error).sum(1)[:, None]).T @ basis
            cross = (direction.by_shared * by_error[:, :, None]).sum(1).T @ basis
            H[:SHARED, block] += cross
            H[block, :SHARED] += cross.T
            g[:SHARED] += by_shared.reshape(-1, SHARED).T @ direction.residual.ravel()
            g[block] += basis.T @ (by_error * direction.residual).sum(1)
        return H, g

    def scores(
        self,
        directions: Directions,
        noise: Noise,
        errors: tuple[Floats, Floats],  # (M, 2) each, pixels: the residuals, or a part of them
    ) -> Floats:  # (M, u)
        """What the given errors contribute to the gradient, per match, both directions together."""
        scores = np.zeros((len(self.pair), SHARED + self.basis_reference.shape[1] + self.basis_query.shape[1]))
        for (direction, basis, block), error in zip(self._blocks(directions), errors, strict=True):
            weight = 0.5 * robust_weight(whitened_square(direction, noise)) * direction.front
            pull = (inverse_covariance(direction, noise) @ error[:, :, None])[:, :, 0] * weight[:, None]
            scores[:, :SHARED] += (direction.by_shared * pull[:, :, None]).sum(axis=1)
            scores[:, block] += basis * (direction.by_depth_error * pull).sum(1)[:, None]
        return scores

    def _blocks(self, directions: Directions) -> list[tuple[Direction, Floats, slice]]:
        """Each direction with the basis of its depth error and the place of that basis among the unknowns."""
        split = SHARED + self.basis_reference.shape[1]
        return [
            (directions[0], self.basis_reference, slice(SHARED, split)),
            (directions[1], self.basis_query, slice(split, split + self.basis_query.shape[1])),
        ]


def build_model(pair: PairObservation) -> PoseModel:
    """Prepare the bases of a pair's matches."""
    ones = np.ones((len(pair), 1))
    return PoseModel(
        pair,
        np.concatenate([ones, spline_basis(pair.xy_reference, *pair.size_reference)], axis=1),
        np.concatenate([ones, spline_basis(pair.xy_query, *pair.size_query)], axis=1),
    )


def inverse_covariance(direction: Direction, noise: Noise) -> Floats:  # (M, 2, 2)
    """Inverse of pixel^2 I + depth^2 j j^T, where j is how depth moves the pixel."""
    j = direction.by_depth_error
    shrink = noise.depth**2 / (noise.pixel**2 + noise.depth**2 * (j**2).sum(1))
    inverse: Floats = (np.eye(2) - shrink[:, None, None] * j[:, :, None] * j[:, None, :]) / noise.pixel**2
    return inverse


def whitened_square(direction: Direction, noise: Noise) -> Floats:  # (M,)
    """Squared residuals in units of their standard deviation; infinite behind the camera."""
    j, r = direction.by_depth_error, direction.residual
    shrink = noise.depth**2 / (noise.pixel**2 + noise.depth**2 * (j**2).sum(1))
    squared = ((r**2).sum(1) - shrink * (j * r).sum(1) ** 2) / noise.pixel**2
    return np.where(direction.front, squared, np.inf)


def robust_weight(squared: Floats) -> Floats:  # (M,)
    """Weights of the Student-t distribution in two dimensions."""
    return (TAIL + 2) / (TAIL + squared)
