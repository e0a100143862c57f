"""Map-free localisation: the metric pose of a query photograph against one or several reference photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mast3r_engine.errors import ReferencesError
from mast3r_engine.localisation.baseline_scale import scale_from_baselines
from mast3r_engine.localisation.camera import CameraLike
from mast3r_engine.localisation.fuse_references import fuse_poses, to_world
from mast3r_engine.localisation.observe import ObservedPair, observe_references
from mast3r_engine.localisation.pair_pose import PairPose, estimate_pair_pose
from mast3r_engine.localisation.query_clock import QueryClock
from mast3r_engine.localisation.reference import Photograph, Reference, encode_photographs
from mast3r_engine.localisation.result import Localization, ReferenceResult, ScaleSource
from mast3r_engine.localisation.rigid_motion import adjoint, invert
from mast3r_engine.localisation.trust import Refusal
from mast3r_engine.memory_errors import memory_errors_named
from mast3r_engine.options import LocalizeOptions
from mast3r_engine.predictions import PairNetwork

Floats = NDArray[np.float64]

NO_SCALE: Refusal = (
    "low_parallax",
    "the network is not metric, and the references' poses do not say how far the query is: give two or more that see it from "
    "different directions",
)


def localize(
    query: Photograph,
    references: Photograph | Sequence[Photograph],
    network: PairNetwork,
    options: LocalizeOptions | None = None,
    query_intrinsics: CameraLike | None = None,
    reference_intrinsics: Sequence[CameraLike | None] | None = None,
    reference_poses: ArrayLike | None = None,  # (N, 4, 4) cam2world
) -> Localization:
    """Find the pose of `query` in the frame of a reference photograph, with a calibrated covariance, or say why not.

    Photographs are paths, bytes, PIL images, (H, W, 3) uint8 arrays, or `Reference` objects that were encoded before.
    `query_intrinsics`: (3, 3), or a PinholeCamera that also says its image size; pixels of the upright original. Without it,
    EXIF's focal length where the point map does not contradict it, else the point map's. `reference_intrinsics`: one per
    reference, None where not known. `reference_poses`: camera to world of every reference; then all references that agree are
    fused and `cam2world` is in their frame; a network that is not metric takes its lengths from their baselines. Without them the
    pose is against the reference with the most inliers.

    ReferencesError for no reference, too many, or poses that are none; IntrinsicsError for an impossible camera or one of
    another image size; ForeignNetworkError for references of another network;
    InvalidImageError, OptionsError, NetworkOutputError, OutOfMemoryError as in `reconstruct`.
    """
    options = options or LocalizeOptions()
    photos = _as_list(references)
    _check_references(photos, reference_intrinsics, options)
    poses = None if reference_poses is None else _check_poses(reference_poses, len(photos))
    clock = QueryClock()
    with memory_errors_named("take fewer references at once, or a smaller image_size"):
        encoded_query = encode_photographs([query], network, options.image_size, [query_intrinsics])[0]
        encoded = encode_photographs(photos, network, options.image_size, reference_intrinsics)
        clock.lap("encode")
        metric = bool(getattr(network, "metric", True))
        pairs = observe_references(encoded_query, encoded, network, options.subsample, metric, clock)
        estimates = [_estimate(pair, options, metric) for pair in pairs]
        answer = _Answer(encoded_query, encoded, pairs, estimates, metric)
        return _localize_alone(answer, clock) if poses is None else _localize_in_world(answer, poses, clock)


@dataclass(frozen=True)
class _Answer:
    """Everything known about the query, one entry per reference."""

    query: Reference
    references: list[Reference]
    pairs: list[ObservedPair]
    estimates: list[PairPose]
    metric: bool
    trusted: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trusted", [k for k, estimate in enumerate(self.estimates) if estimate.refusal is None])

    def best(self) -> int:
        """The reference with the most inliers, of those that are trusted if there are any."""
        return max(self.trusted or range(len(self.estimates)), key=lambda k: self.estimates[k].inliers)


def _as_list(references: Photograph | Sequence[Photograph]) -> list[Photograph]:
    return list(references) if isinstance(references, (list, tuple)) else [references]  # type: ignore[list-item]


def _check_references(
    photos: Sequence[Photograph], intrinsics: Sequence[CameraLike | None] | None, options: LocalizeOptions
) -> None:
    if not photos:
        raise ReferencesError("there is no reference photograph; give one or more that show the same place as the query")
    if len(photos) > options.max_references:
        raise ReferencesError(
            f"{len(photos)} references at once; at most {options.max_references} are taken (option max_references): "
            "choose the most similar ones"
        )
    if intrinsics is not None and len(intrinsics) != len(photos):
        raise ReferencesError(
            f"{len(intrinsics)} reference intrinsics for {len(photos)} references; give one for each, None where unknown"
        )


def _check_poses(given: ArrayLike, references: int) -> Floats:
    try:
        poses = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ReferencesError("reference_poses must be 4x4 matrices of numbers, camera to world") from None
    if poses.shape != (references, 4, 4) or not np.isfinite(poses).all():
        raise ReferencesError(f"reference_poses have shape {poses.shape}; it must be ({references}, 4, 4) of finite numbers")
    R = poses[:, :3, :3]
    rigid = np.abs(R @ np.swapaxes(R, 1, 2) - np.eye(3)).max(axis=(1, 2)) < 1e-3
    rigid &= (np.linalg.det(R) > 0) & (np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1) < 1e-6)
    if not rigid.all():
        raise ReferencesError(f"reference pose {int(np.flatnonzero(~rigid)[0])} is not a rigid motion; give camera to world, 4x4")
    return poses


def _estimate(observed: ObservedPair, options: LocalizeOptions, metric: bool) -> PairPose:
    sigmas = observed.intrinsics_reference.focal_sigma, observed.intrinsics_query.focal_sigma
    return estimate_pair_pose(observed.pair, sigmas, options, metric)


def _localize_alone(answer: _Answer, clock: QueryClock) -> Localization:
    k = answer.best()
    estimate = answer.estimates[k]
    fused = (k,) if estimate.refusal is None else ()
    return _assemble(answer, k, (estimate.query2reference, estimate.covariance), None, fused, estimate.refusal, clock)


def _localize_in_world(answer: _Answer, poses: Floats, clock: QueryClock) -> Localization:
    k = answer.best()
    chosen = answer.trusted or [k]
    if not np.isfinite(answer.estimates[k].query2reference).all():
        nothing = answer.estimates[k]
        world = np.full((4, 4), np.nan), np.full((6, 6), np.nan)
        return _assemble(answer, k, (nothing.query2reference, nothing.covariance), world, (), nothing.refusal, clock)
    against = [(answer.estimates[j].query2reference, answer.estimates[j].covariance) for j in chosen]
    refusal = answer.estimates[k].refusal
    if not answer.metric and refusal is None:
        scaled = scale_from_baselines([poses[j] for j in chosen], [pose for pose, _ in against], [c for _, c in against])
        refusal = NO_SCALE if scaled is None else None
        against = against if scaled is None else [(found.query2reference, found.covariance) for found in scaled]
    carried = [to_world(poses[j], *found) for j, found in zip(chosen, against, strict=True)]
    fused = fuse_poses([pose for pose, _ in carried], [covariance for _, covariance in carried])
    members = tuple(chosen[m] for m in fused.members)
    if refusal is None and len(chosen) > 1 and len(members) == 1:
        refusal = ("inconsistent_references", f"{len(chosen)} references localise the query, each elsewhere; check their poses")
    k = max(members, key=lambda j: answer.estimates[j].inliers)
    back = invert(poses[k])
    carry = adjoint(back)
    relative = back @ fused.cam2world, carry @ fused.covariance @ carry.T
    used = members if refusal is None else ()
    return _assemble(answer, k, relative, (fused.cam2world, fused.covariance), used, refusal, clock)


def _assemble(
    answer: _Answer,
    k: int,
    relative: tuple[Floats, Floats],
    world: tuple[Floats, Floats] | None,
    fused: tuple[int, ...],
    refusal: Refusal | None,
    clock: QueryClock,
) -> Localization:
    estimate = answer.estimates[k]
    clock.lap("pose")
    return Localization(
        localized=refusal is None,
        reason=None if refusal is None else refusal[0],
        detail="" if refusal is None else refusal[1],
        reference_index=k,
        query2reference=relative[0],
        covariance=relative[1],
        cam2world=None if world is None else world[0],
        world_covariance=None if world is None else world[1],
        inliers=estimate.inliers,
        inlier_ratio=estimate.inliers / max(estimate.matches, 1),
        reprojection_px=estimate.reprojection * _pixel_size(answer.query),
        parallax_degrees=estimate.parallax,
        scale_source=_scale_source(answer.metric, in_world=world is not None),
        query_intrinsics=answer.pairs[k].intrinsics_query,
        fused=fused,
        references=tuple(_reference_result(answer, j) for j in range(len(answer.references))),
        seconds=clock.seconds,
    )


def _scale_source(metric: bool, in_world: bool) -> ScaleSource:
    if metric:
        return "metric_point_maps"
    return "reference_baselines" if in_world else "network_units"


def _reference_result(answer: _Answer, k: int) -> ReferenceResult:
    estimate = answer.estimates[k]
    return ReferenceResult(
        name=answer.references[k].name,
        localized=estimate.refusal is None,
        reason=None if estimate.refusal is None else estimate.refusal[0],
        detail="" if estimate.refusal is None else estimate.refusal[1],
        query2reference=estimate.query2reference,
        covariance=estimate.covariance,
        matches=estimate.matches,
        inliers=estimate.inliers,
        reprojection_px=estimate.reprojection * _pixel_size(answer.query),
        parallax_degrees=estimate.parallax,
        method=estimate.method,
        intrinsics=answer.pairs[k].intrinsics_reference,
    )


def _pixel_size(photo: Reference) -> float:
    """Original pixels per network pixel."""
    return float(np.mean(photo.geometry.scale))
