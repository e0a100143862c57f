"""One query pose over several photographs of a map: each pair keeps its model, its own unknowns eliminated (Schur complement)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.covariance import information
from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.pose_model import build_model
from mast3r_engine.localisation.refine import START, Refined, estimate_noise, starting_pixel_noise
from mast3r_engine.localisation.rigid_motion import adjoint, invert, perturb_left

Floats = NDArray[np.float64]

COMMON = [0, 1, 2, 3, 4, 5, 7]  # of a pair's unknowns, those that all pairs share: the pose and the query's log focal length
ROUNDS = 4  # of noise estimation
STEPS = 3  # Levenberg-Marquardt steps per round
ENOUGH = 1e-3  # fall of the negative log posterior at which a round ends
SHARED_ERROR = 0.3  # part of the variance that all photographs have in common: they see the same query (calibration study)


@dataclass(frozen=True)
class JointPose:
    """The query's most probable pose, and each photograph's share in it."""

    cam2map: Floats  # (4, 4)
    photos: tuple[Floats, ...]  # (4, 4) cam2map of each photograph
    pairs: tuple[Refined, ...]

    def cost(self) -> float:
        """Negative log posterior, but for constants of the noise."""
        return sum(pair.model.cost(pair.state, pair.directions, pair.noise) for pair in self.pairs)

    def prior_cost(self) -> float:
        """What the corrections of depths and focal lengths cost."""
        return sum(pair.model.prior_cost(pair.state, pair.noise) for pair in self.pairs)


@dataclass(frozen=True)
class SeenFrom:
    """A photograph of the map, and its matches with the query."""

    cam2map: Floats  # (4, 4)
    pair: PairObservation
    log_size: float  # of the map over the query's own depth: where refinement starts


def refine_jointly(
    observed: Sequence[SeenFrom],  # inlier matches, few gross errors left
    cam2map: Floats,  # (4, 4) start
    focal_sigma: float,  # relative standard deviation of the query's focal length
) -> JointPose:
    """Refine a pose over all photographs' reprojections in both directions, with the depths as prior."""
    share = focal_sigma * np.sqrt(len(observed))  # every pair brings its part of the one prior
    pairs = tuple(_begin(seen, invert(seen.cam2map) @ cam2map, share) for seen in observed)
    joint = JointPose(cam2map, tuple(seen.cam2map for seen in observed), pairs)
    for _ in range(ROUNDS):
        joint = _descend(joint)
        joint = replace(joint, pairs=tuple(_with_noise(pair) for pair in joint.pairs))
    return _descend(joint)


def joint_covariance(joint: JointPose) -> Floats:  # (6, 6)
    """Covariance of the left perturbation of cam2map: translation, then rotation vector, in the map's frame.

    Each pair's sandwich is reduced to the common unknowns and added up. Pairs share the query's errors (SHARED_ERROR), and where
    they contradict each other by more than their scatter says, all are that much worse (Birge's ratio): errors of the map's poses
    show there.
    """
    shares = [_share(photo, pair) for photo, pair in zip(joint.photos, joint.pairs, strict=True)]
    H, S = np.sum([share.H for share in shares], axis=0), np.sum([share.S for share in shares], axis=0)
    weights = np.array([float((np.diag(share.H) / np.diag(H))[:6].sum()) for share in shares])
    effective = weights.sum() ** 2 / (weights**2).sum()
    inverse = np.linalg.inv(H)
    covariance = inverse @ S @ inverse * (1 + SHARED_ERROR * (effective - 1)) * _contradiction(shares)
    pose: Floats = covariance[:6, :6]
    return 0.5 * (pose + pose.T)


def _begin(seen: SeenFrom, pose: Floats, focal_sigma: float) -> Refined:
    model = build_model(seen.pair)
    state = model.start(pose)
    state.depth_query[0] = -seen.log_size
    noise = replace(START, log_focals=(0.0, focal_sigma))
    directions = model.directions(state)
    return Refined(model, state, directions, replace(noise, pixel=starting_pixel_noise(directions, noise)))


def _with_noise(pair: Refined) -> Refined:
    return replace(pair, noise=estimate_noise(pair.model, pair.state, pair.directions, pair.noise))


def _descend(joint: JointPose) -> JointPose:
    damping, cost = 1e-4, joint.cost()
    for _ in range(STEPS):
        equations = [_Reduced.of(photo, pair, damping) for photo, pair in zip(joint.photos, joint.pairs, strict=True)]
        H, g = np.sum([e.H for e in equations], axis=0), np.sum([e.g for e in equations], axis=0)
        for _ in range(6):
            common = -np.linalg.solve(H + damping * np.diag(np.diag(H)), g)
            candidate = _moved(joint, equations, common)
            candidate_cost = candidate.cost()
            if candidate_cost <= cost:
                break
            damping = max(damping, 1e-6) * 10
        else:
            break
        fall, cost, joint = cost - candidate_cost, candidate_cost, candidate
        damping /= 10
        if fall <= ENOUGH:
            break
    return joint


@dataclass(frozen=True)
class _Reduced:
    """One pair's normal equations, its own unknowns eliminated."""

    H: Floats  # (7, 7)
    g: Floats  # (7,)
    own_step: Floats  # (r, 8) the pair's own step: - own_step @ (common step, 1)
    carry: Floats  # (7, 7) common unknowns to the pair's

    @classmethod
    def of(cls, photo: Floats, pair: Refined, damping: float) -> _Reduced:
        H, g = pair.model.normal_equations(pair.state, pair.directions, pair.noise)
        carry, rest = _carry(photo), _rest(len(g))
        common, cross, own = carry.T @ H[np.ix_(COMMON, COMMON)] @ carry, carry.T @ H[np.ix_(COMMON, rest)], H[np.ix_(rest, rest)]
        solved = np.linalg.solve(own + damping * np.diag(np.diag(own)), np.concatenate([cross.T, g[rest, None]], axis=1))
        return cls(common - cross @ solved[:, :7], carry.T @ g[COMMON] - cross @ solved[:, 7], solved, carry)


def _moved(joint: JointPose, equations: Sequence[_Reduced], common: Floats) -> JointPose:
    cam2map = perturb_left(joint.cam2map, common[:6])
    pairs = []
    for photo, pair, reduced in zip(joint.photos, joint.pairs, equations, strict=True):
        step = np.zeros(6 + len(pair.state.nuisance()))
        step[_rest(len(step))] = -reduced.own_step @ np.append(common, 1.0)
        step[7] = common[6]
        state = replace(pair.state.moved(step), pose=invert(photo) @ cam2map)
        pairs.append(replace(pair, state=state, directions=pair.model.directions(state)))
    return replace(joint, cam2map=cam2map, pairs=tuple(pairs))


def _carry(photo: Floats) -> Floats:  # (4, 4) cam2map -> (7, 7)
    carry = np.eye(7)
    carry[:6, :6] = adjoint(invert(photo))
    return carry


def _rest(unknowns: int) -> list[int]:
    return [6, *range(8, unknowns)]


@dataclass(frozen=True)
class _Share:
    """What one pair says about the common unknowns."""

    H: Floats  # (7, 7)
    S: Floats  # (7, 7) scatter of its gradient
    g: Floats  # (7,) its gradient where the sum of all is zero


def _share(photo: Floats, pair: Refined) -> _Share:
    H, S = information(pair)
    g = pair.model.normal_equations(pair.state, pair.directions, pair.noise)[1]
    carry, rest = _carry(photo), _rest(len(H))
    eliminate = np.concatenate([np.eye(7), -np.linalg.solve(H[np.ix_(rest, rest)], H[np.ix_(rest, COMMON)]).T], axis=1)
    order, down = COMMON + rest, carry.T @ eliminate
    return _Share(down @ H[np.ix_(order, order)] @ down.T, down @ S[np.ix_(order, order)] @ down.T, down @ g[order])


def _contradiction(shares: Sequence[_Share]) -> float:
    """Chi square per degree of freedom of the pairs' pulls on the pose, where it says that their scatter is too small."""
    if len(shares) < 2:
        return 1.0
    total = sum(float(share.g[:6] @ np.linalg.solve(share.S[:6, :6], share.g[:6])) for share in shares)
    return max(1.0, total / (6 * (len(shares) - 1)))
