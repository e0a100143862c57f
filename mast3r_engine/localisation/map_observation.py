"""The query against one photograph of a map: matches, with depths and camera as the map has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.localisation.camera import Intrinsics
from mast3r_engine.localisation.map_search import Retrieved
from mast3r_engine.localisation.observation import PairObservation, PointMapSamples
from mast3r_engine.localisation.observe import ObservedPair
from mast3r_engine.localisation.reference import Reference
from mast3r_engine.localisation.scene_map import MapPhoto

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MapObservation:
    """One photograph's observation of the query, all lengths in the map's unit."""

    retrieved: Retrieved
    photo: MapPhoto
    pair: PairObservation  # reference: the map's photograph; the query's depth was brought to the map's size
    log_size: float  # by how much; evidence of how well sizes are known
    intrinsics_query: Intrinsics

    def with_own_size(self, pair: PairObservation) -> PairObservation:
        """These matches or a part of them with the query's depth as large as the network gave it."""
        return replace(pair, depth_query=pair.depth_query * np.exp(-self.log_size))

    def points(self) -> Floats:  # (M, 3) map frame
        """The matched points."""
        points: Floats = self.pair.points_reference() @ self.photo.cam2map[:3, :3].T + self.photo.cam2map[:3, 3]
        return points

    def relative(self, cam2map: Floats) -> Floats:  # (4, 4) query2photo
        """The query's pose as this photograph sees it."""
        pose: Floats = np.linalg.inv(self.photo.cam2map) @ cam2map
        return pose


def in_map_units(
    observed: ObservedPair,  # its query in the size of the reference's pass
    retrieved: Retrieved,
    photo: MapPhoto,
    metric: bool,
) -> MapObservation:
    """Put the map's depth in the place of the network's, and bring the query's to its size.

    Sizes of a network that is not metric say nothing: `log_size` is 0 then.
    """
    pair = observed.pair
    x, y = pair.xy_reference.astype(np.int64).T
    depth = photo.depth[y, x].astype(np.float64)
    known = np.isfinite(depth) & (depth > 0)
    pair, depth = pair.take(known), depth[known]
    size = float(np.median(depth / pair.depth_reference)) if len(depth) else 1.0
    pair = replace(
        pair,
        depth_reference=depth,
        depth_query=size * pair.depth_query,
        samples_reference=_resized(pair.samples_reference, size),
        samples_query=_resized(pair.samples_query, size),
    )
    return MapObservation(
        retrieved, photo, pair, float(np.log(size * observed.size_ratio)) if metric else 0.0, observed.intrinsics_query
    )


def with_one_camera(observations: Sequence[MapObservation], query: Reference) -> list[MapObservation]:
    """Give all observations the same query camera; estimates from several photographs are put together by their median."""
    if not observations:
        return []
    chosen = sorted(observations, key=lambda o: float(o.intrinsics_query.K[0, 0]))[len(observations) // 2].intrinsics_query
    K = query.geometry.intrinsics_to_network(chosen.K)
    return [replace(o, intrinsics_query=chosen, pair=replace(o.pair, K_query=K)) for o in observations]


def _resized(samples: PointMapSamples, size: float) -> PointMapSamples:
    return replace(samples, own=size * samples.own, in_partner=size * samples.in_partner)
