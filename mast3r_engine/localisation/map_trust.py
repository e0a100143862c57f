"""When a pose in a map is not to be trusted, beyond what holds for one reference too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.evaluation.trajectory import rotation_angle
from mast3r_engine.localisation.candidates import align_maps
from mast3r_engine.localisation.joint_refine import JointPose, SeenFrom, refine_jointly
from mast3r_engine.localisation.map_observation import MapObservation
from mast3r_engine.localisation.map_prior import MapPrior
from mast3r_engine.localisation.rigid_motion import invert, rigid
from mast3r_engine.localisation.trust import Refusal, refuse_other_pose

Floats = NDArray[np.float64]

FLAT = 0.02  # thickness of the points over their extent below which they are one plane to a camera
LIKELIHOOD = 10.0  # log of the ratio of posteriors beyond which the worse pose is ruled out
SAME_ROTATION = 1.0  # degrees
SIGMAS = 3.0


def refuse_prior(cam2map: Floats, covariance: Floats, prior: MapPrior | None) -> Refusal | None:
    """The pose lies outside the prior by more than three of its standard deviations."""
    if prior is None:
        return None
    off = cam2map[:3, 3] - prior.position
    distance = float(np.linalg.norm(off))
    turned = np.concatenate([np.eye(3), -_cross(cam2map[:3, 3])], axis=1)
    sigma = float(np.sqrt(np.linalg.eigvalsh(turned @ covariance @ turned.T)[-1]))
    if distance > prior.radius + SIGMAS * sigma:
        return "contradicts_prior", f"the pose lies {distance:.3g} from the prior's position; its radius is {prior.radius:g}"
    if prior.rotation is None:
        return None
    angle = float(rotation_angle(cam2map[:3, :3], prior.rotation))
    if angle > prior.degrees + SIGMAS * float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[3:, 3:])[-1]))):
        return (
            "contradicts_prior",
            f"the pose is turned by {angle:.0f} degrees from the prior's; it must be {prior.degrees:g} or less",
        )
    return None


def refuse_other_poses(cam2map: Floats, supporters: Sequence[MapObservation], depth: float) -> Refusal | None:
    """The network's own point maps contradict the pose against every photograph that supports it."""
    refusals = []
    for observation in supporters:
        there, back = align_maps(observation.pair.samples_query), align_maps(observation.pair.samples_reference)
        from_maps = [pose for pose in (there, None if back is None else invert(back)) if pose is not None]
        refusals.append(refuse_other_pose(observation.relative(cam2map), from_maps, depth))
    return None if not refusals or None in refusals else refusals[0]


def refuse_flip(joint: JointPose) -> Refusal | None:
    """All points on one plane, and the pose mirrored about the line of sight explains them nearly as well.

    The second minimum of the perspective pose of a plane: Schweighofer and Pinz, Robust pose estimation from a planar target,
    PAMI 2006. A start near it is refined for itself before the two are compared.
    """
    points = np.concatenate([_points(photo, k, joint) for k, photo in enumerate(joint.photos)])
    centre = points.mean(axis=0)
    _, extent, axes = np.linalg.svd(points - centre, full_matrices=False)
    if extent[2] > FLAT * extent[1]:
        return None
    mirrored = _mirrored(joint.cam2map, centre, axes[2])
    observed = [
        SeenFrom(photo, pair.model.pair, -float(pair.state.depth_query[0]))
        for photo, pair in zip(joint.photos, joint.pairs, strict=True)
    ]
    other = refine_jointly(observed, mirrored, joint.pairs[0].noise.log_focals[1] / np.sqrt(len(observed)))
    if float(rotation_angle(other.cam2map[:3, :3], joint.cam2map[:3, :3])) < SAME_ROTATION:
        return None
    if other.cost() - other.prior_cost() < joint.cost() - joint.prior_cost() + LIKELIHOOD:
        return (
            "planar_degeneracy",
            "all matched points lie on one plane, and a second pose explains them as well; take a query that shows more",
        )
    return None


def _points(photo: Floats, k: int, joint: JointPose) -> Floats:  # (M, 3) map frame
    points: Floats = joint.pairs[k].model.pair.points_reference() @ photo[:3, :3].T + photo[:3, 3]
    return points


def _mirrored(cam2map: Floats, centre: Floats, normal: Floats) -> Floats:  # (4, 4)
    """The pose that sees the plane's normal reflected about the ray to its centre, the centre where it was."""
    to_camera = invert(cam2map)
    seen = to_camera[:3, :3] @ centre + to_camera[:3, 3]
    ray, n = seen / np.linalg.norm(seen), to_camera[:3, :3] @ normal
    n = n * -np.sign(n @ ray)
    opposite = 2 * (n @ ray) * ray - n
    R = _turn(n, opposite) @ to_camera[:3, :3]
    return invert(rigid(R, seen - R @ centre))


def _turn(a: Floats, b: Floats) -> Floats:  # (3, 3)
    """The shortest rotation of unit vector a to b."""
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-9:
        return np.eye(3)
    K = _cross(axis)
    turn: Floats = np.eye(3) + K + K @ K / (1 + cosine)
    return turn


def _cross(v: Floats) -> Floats:  # (3, 3)
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
