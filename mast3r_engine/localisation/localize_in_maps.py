"""Localisation in finished scenes: retrieve photographs of one or several maps, match, and find one pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.errors import MapError
from mast3r_engine.localisation.camera import CameraLike, Intrinsics
from mast3r_engine.localisation.fingerprint import check_fingerprint
from mast3r_engine.localisation.map_observation import MapObservation, in_map_units, with_one_camera
from mast3r_engine.localisation.map_pose import MapEstimate, estimate_map_pose
from mast3r_engine.localisation.map_prior import MapPrior
from mast3r_engine.localisation.map_search import Retrieved, retrieve
from mast3r_engine.localisation.observe import observe_references
from mast3r_engine.localisation.query_clock import QueryClock
from mast3r_engine.localisation.reference import Photograph, Reference, encode_photographs
from mast3r_engine.localisation.rigid_motion import adjoint, invert
from mast3r_engine.localisation.scene_map import SceneMap
from mast3r_engine.localisation.trust import Reason
from mast3r_engine.memory_errors import memory_errors_named
from mast3r_engine.options import LocalizeOptions
from mast3r_engine.predictions import PairNetwork

Floats = NDArray[np.float64]

TOP_K = 6  # photographs that a query is matched with


@dataclass(frozen=True)
class MapPhotoResult:
    """A photograph that the query was matched with."""

    map_index: int
    name: str
    similarity: float  # by which it was retrieved; comparable within a map only
    matches: int
    inliers: int


@dataclass(frozen=True)
class MapPose:
    """The pose of a query photograph in the frame of one of the maps; OpenCV axes, metres when `metric`.

    `covariance` is that of x in T_true = E(x) T_estimated for T = cam2map: x is translation, then rotation vector, in the map's
    frame. It is relative to the map, whose cameras count as wrong by its `camera_error`; the map's size error is not in it. When
    pose and covariance are the best guess, kept for inspection, or NaN when there is none.
    """

    localized: bool
    reason: Reason | None  # why not
    detail: str
    map_index: int  # the map in whose frame the pose is given: the one with the most inliers, of those that are trusted if any
    cam2map: Floats  # (4, 4)
    covariance: Floats  # (6, 6)
    metric: bool
    frame: str
    inliers: int
    inlier_ratio: float  # over the photographs that support the pose
    reprojection_px: float  # original pixels of the query, root mean square over the inliers
    query_intrinsics: Intrinsics | None  # None when no photograph was searched
    photos: tuple[MapPhotoResult, ...]  # of all maps
    reasons: tuple[Reason | None, ...]  # per map
    seconds: dict[str, float] = field(default_factory=dict)  # per stage: encode, retrieve, decode, match, pose

    @property
    def position(self) -> Floats:  # (3,)
        """The query's camera centre in the map's frame."""
        return self.cam2map[:3, 3]

    @property
    def position_covariance(self) -> Floats:  # (3, 3)
        """Covariance of `position`."""
        x, y, z = self.position
        from_left = np.concatenate([np.eye(3), [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]], axis=1)
        covariance: Floats = from_left @ self.covariance @ from_left.T
        return covariance

    @property
    def body_covariance(self) -> Floats:  # (6, 6)
        """The same uncertainty as a right perturbation, in the query camera's own axes."""
        carry = adjoint(invert(self.cam2map))
        covariance: Floats = carry @ self.covariance @ carry.T
        return covariance


def localize_in_maps(
    query: Photograph,
    maps: Sequence[SceneMap],
    network: PairNetwork,
    options: LocalizeOptions | None = None,
    *,
    camera: CameraLike | None = None,  # original pixels; None: EXIF or the point map
    prior: MapPrior | Sequence[MapPrior | None] | None = None,  # with several maps one per map, each in that map's frame
    top_k: int = TOP_K,
) -> MapPose:
    """Find the pose of `query` in the best supported of the maps, with its covariance, or say why not.

    The `top_k` most similar photographs (over all maps, two of each at least) are matched with the query; what each map's
    photographs say is pooled into one pose per map. A prior leaves out photographs that could not share the query's view, and a
    pose outside of it is refused.

    MapError for no map, a top_k below 1, or priors that are not one per map; ForeignNetworkError for another network's map;
    otherwise as `localize`.
    """
    options = options or LocalizeOptions()
    priors = _check(maps, prior, top_k, network)
    clock = QueryClock()
    with memory_errors_named("search fewer photographs (top_k), or take a smaller image_size"):
        encoded = encode_photographs([query], network, options.image_size, [camera])[0]
        clock.lap("encode")
        chosen = retrieve(encoded, maps, priors, top_k)
        clock.lap("retrieve")
        observations = _observe(encoded, chosen, maps, network, options, clock)
        estimates = [
            _estimate([o for o in observations if o.retrieved.map_index == k], options, priors[k], maps[k].camera_error)
            for k in range(len(maps))
        ]
        clock.lap("pose")
    return _answer(encoded, maps, observations, estimates, clock)


def _check(
    maps: Sequence[SceneMap], prior: MapPrior | Sequence[MapPrior | None] | None, top_k: int, network: PairNetwork
) -> list[MapPrior | None]:
    if not maps:
        raise MapError("there is no map to search; give one or more")
    if top_k < 1:
        raise MapError(f"top_k is {top_k}; at least one photograph must be searched")
    for k, scene_map in enumerate(maps):
        check_fingerprint(f"map {k}", scene_map.fingerprint, network)
    priors = list(prior) if isinstance(prior, Sequence) else [prior] * (len(maps) if prior is None else 1)
    if len(priors) != len(maps):
        raise MapError(f"{len(priors)} priors for {len(maps)} maps; give one per map in its frame, None where nothing is known")
    return priors


def _observe(
    query: Reference,
    chosen: Sequence[Retrieved],
    maps: Sequence[SceneMap],
    network: PairNetwork,
    options: LocalizeOptions,
    clock: QueryClock,
) -> list[MapObservation]:
    photos = [maps[r.map_index].photos[r.photo_index] for r in chosen]
    references = [photo.reference for photo in photos]
    pairs = observe_references(query, references, network, options.subsample, False, clock)
    observed = [
        in_map_units(pair, retrieved, photo, maps[retrieved.map_index].metric)
        for pair, retrieved, photo in zip(pairs, chosen, photos, strict=True)
    ]
    return with_one_camera(observed, query)


def _estimate(
    observations: Sequence[MapObservation], options: LocalizeOptions, prior: MapPrior | None, camera_error: float
) -> MapEstimate:
    if observations:
        return estimate_map_pose(observations, options, prior, camera_error)
    nan = float("nan")
    refusal: tuple[Reason, str] = (
        "outside_map",
        "no photograph of the map sees what a query within the prior could see; widen the prior",
    )
    return MapEstimate(np.full((4, 4), nan), np.full((6, 6), nan), 0, 0, (), nan, refusal)


def _answer(
    query: Reference,
    maps: Sequence[SceneMap],
    observations: Sequence[MapObservation],
    estimates: Sequence[MapEstimate],
    clock: QueryClock,
) -> MapPose:
    trusted = [k for k, estimate in enumerate(estimates) if estimate.refusal is None]
    best = max(trusted or range(len(maps)), key=lambda k: (estimates[k].inliers, estimates[k].matches))
    estimate = estimates[best]
    inliers = [count for e in estimates for count in e.inliers_by_photo]  # observations are sorted by map
    return MapPose(
        localized=estimate.refusal is None,
        reason=None if estimate.refusal is None else estimate.refusal[0],
        detail="" if estimate.refusal is None else estimate.refusal[1],
        map_index=best,
        cam2map=estimate.cam2map,
        covariance=estimate.covariance,
        metric=maps[best].metric,
        frame=maps[best].frame,
        inliers=estimate.inliers,
        inlier_ratio=estimate.inliers / max(estimate.matches, 1),
        reprojection_px=estimate.reprojection * float(np.mean(query.geometry.scale)),
        query_intrinsics=observations[0].intrinsics_query if observations else None,
        photos=tuple(
            MapPhotoResult(o.retrieved.map_index, o.photo.reference.name, o.retrieved.similarity, len(o.pair), count)
            for o, count in zip(observations, inliers, strict=True)
        ),
        reasons=tuple(None if e.refusal is None else e.refusal[0] for e in estimates),
        seconds=clock.seconds,
    )
