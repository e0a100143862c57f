"""The query's pose in one map: pooled 2D-3D matches, one robust perspective pose, joint refinement, covariance, trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.agreement import Agreement, judge_directions, judge_pose
from mast3r_engine.localisation.joint_refine import JointPose, SeenFrom, joint_covariance, refine_jointly
from mast3r_engine.localisation.map_observation import MapObservation
from mast3r_engine.localisation.map_prior import MapPrior
from mast3r_engine.localisation.map_trust import refuse_flip, refuse_other_poses, refuse_prior
from mast3r_engine.localisation.minimal_solvers import solve_absolute_pose
from mast3r_engine.localisation.observation import PairObservation
from mast3r_engine.localisation.pair_pose import DEPTH_ROOM_AFTER
from mast3r_engine.localisation.pose_model import build_model
from mast3r_engine.localisation.refine import Refined
from mast3r_engine.localisation.rigid_motion import adjoint, invert
from mast3r_engine.localisation.trust import Refusal, refuse_contradiction, refuse_matches, refuse_uncertainty
from mast3r_engine.options import LocalizeOptions

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

POOLED = 400  # matches that one photograph brings to the perspective pose and to refinement
SIDEWAYS = 0.2  # a map camera's error across its line of sight and its rotation (radians times depth) over that along it
SUPPORT = 12  # inliers by which a photograph supports a pose


@dataclass(frozen=True)
class MapEstimate:
    """A query's pose in one map. Pose and covariance are NaN when there is no estimate at all."""

    cam2map: Floats  # (4, 4)
    covariance: Floats  # (6, 6) left perturbation: translation, rotation vector, in the map's frame
    matches: int  # of the photographs that support the pose; of all, when there is none
    inliers: int
    inliers_by_photo: tuple[int, ...]  # in the order of the observations
    reprojection: float  # network pixels of the query, root mean square over the inliers
    refusal: Refusal | None


def estimate_map_pose(
    observations: Sequence[MapObservation],
    options: LocalizeOptions,
    prior: MapPrior | None,
    camera_error: float,  # of the map
) -> MapEstimate:
    """Estimate, refine and judge the pose of the query in the frame of the observations' map."""
    pooled = [o.pair.take(_surest(o.pair.conf, POOLED)) for o in observations]
    start = _perspective_pose(observations, pooled, options)
    if start is None:
        return _nothing(observations, options)
    near = [judge_pose(pair, o.relative(start), options.inlier_pixels) for o, pair in zip(observations, pooled, strict=True)]
    gates: dict[int, Bools] = {k: a.gate for k, a in enumerate(near) if _supports(a, options)}
    if sum(int(gate.sum()) for gate in gates.values()) < options.min_inliers:
        return _nothing(observations, options)
    own = [o.with_own_size(pair) for o, pair in zip(observations, pooled, strict=True)]
    focal_sigma = observations[0].intrinsics_query.focal_sigma
    for _ in range(2):
        seen = [SeenFrom(observations[k].photo.cam2map, own[k].take(gate), observations[k].log_size) for k, gate in gates.items()]
        joint = refine_jointly(seen, start, focal_sigma)
        agreements = {
            k: judge_directions(build_model(own[k]).directions(pair.state), options.inlier_pixels, DEPTH_ROOM_AFTER)
            for k, pair in zip(gates, joint.pairs, strict=True)
        }
        again = {k: agreement.gate for k, agreement in agreements.items() if _supports(agreement, options)}
        settled = again.keys() == gates.keys() and all((again[k] != gates[k]).mean() < 0.1 for k in gates)
        if settled or not again:
            break
        gates, start = again, joint.cam2map
    return _judge(observations, joint, agreements, options, prior, camera_error)


def _judge(
    observations: Sequence[MapObservation],
    joint: JointPose,
    agreements: dict[int, Agreement],
    options: LocalizeOptions,
    prior: MapPrior | None,
    camera_error: float,
) -> MapEstimate:
    pose = joint.cam2map
    inliers = {k: int(agreement.inliers.sum()) for k, agreement in agreements.items()}
    matches = sum(agreement.squared.shape[1] for agreement in agreements.values())
    depth = float(np.median(np.concatenate([_depths(pair) for pair in joint.pairs])))
    covariance = joint_covariance(joint) + _map_error(pose, camera_error, depth)
    back = adjoint(invert(pose))  # limits are about the camera, wherever the map's origin lies
    one_sided = float(np.median([agreement.one_sided for agreement in agreements.values()]))
    refusal = (
        refuse_matches(matches, sum(inliers.values()), options)
        or refuse_other_poses(pose, [observations[k] for k in agreements], depth)
        or refuse_contradiction(0.0, one_sided, metric=False)
        or refuse_flip(joint)
        or refuse_uncertainty(back @ covariance @ back.T, depth, options)
        or refuse_prior(pose, covariance, prior)
    )
    return MapEstimate(
        cam2map=pose,
        covariance=covariance,
        matches=matches,
        inliers=sum(inliers.values()),
        inliers_by_photo=tuple(inliers.get(k, 0) for k in range(len(observations))),
        reprojection=_reprojection(joint),
        refusal=refusal,
    )


def _map_error(pose: Floats, camera_error: float, depth: float) -> Floats:  # (6, 6)
    """The map's own cameras err, together, mostly along the line of sight: no residual shows it."""
    along, aside, turn = camera_error * depth, SIDEWAYS * camera_error * depth, SIDEWAYS * camera_error
    carry = adjoint(pose) @ np.diag([aside, aside, along, turn, turn, turn])
    covariance: Floats = carry @ carry.T
    return covariance


def _depths(pair: Refined) -> Floats:  # (M,) of the query, in the map's unit
    depths: Floats = pair.model.pair.depth_query * np.exp(-pair.state.depth_query[0])
    return depths


def _surest(conf: Floats, count: int) -> Bools:  # (M,) -> (M,)
    keep = np.zeros(len(conf), bool)
    keep[np.argsort(-conf, kind="stable")[:count]] = True
    return keep


def _perspective_pose(
    observations: Sequence[MapObservation], pooled: Sequence[PairObservation], options: LocalizeOptions
) -> Floats | None:
    pair = observations[0].pair
    points = [
        pair.points_reference() @ o.photo.cam2map[:3, :3].T + o.photo.cam2map[:3, 3]
        for o, pair in zip(observations, pooled, strict=True)
    ]
    return solve_absolute_pose(
        np.concatenate([pair.xy_query for pair in pooled]),
        np.concatenate(points),
        np.concatenate([pair.conf for pair in pooled]),
        pair.K_query,
        pair.size_query,
        options.inlier_pixels,
        options.seed,
    )


def _supports(agreement: Agreement, options: LocalizeOptions) -> bool:
    inliers = int(agreement.inliers.sum())
    return bool(inliers >= max(SUPPORT, options.min_inlier_ratio * agreement.squared.shape[1]))


def _reprojection(joint: JointPose) -> float:
    residuals = np.concatenate([pair.directions[0].residual[pair.directions[0].front] for pair in joint.pairs])
    return float(np.sqrt((residuals**2).sum(axis=1).mean()))


def _nothing(observations: Sequence[MapObservation], options: LocalizeOptions) -> MapEstimate:
    nan, matches = float("nan"), sum(len(o.pair) for o in observations)
    refusal = refuse_matches(matches, 0, options) or ("no_overlap", "the matches agree on no pose")
    return MapEstimate(np.full((4, 4), nan), np.full((6, 6), nan), matches, 0, (0,) * len(observations), nan, refusal)
