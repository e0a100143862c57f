"""From photographs to observations: decode every pair in both orders, match, and read depths at the matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.inference import PairPasses, TokenStore, decode_pairs, device_of, pixels_per_batch, plan_batches
from mast3r_engine.localisation.camera import Intrinsics, choose_intrinsics
from mast3r_engine.localisation.observation import PairObservation, PointMapSamples
from mast3r_engine.localisation.query_clock import QueryClock
from mast3r_engine.localisation.reference import Reference
from mast3r_engine.localisation.subpixel import SHARED_ERROR, refine_matches
from mast3r_engine.matching import DescribedView, described, match_symmetric
from mast3r_engine.predictions import PairNetwork, ViewPrediction

Floats = NDArray[np.float64]

GRID = 12  # network pixels between the samples of a point map
QUERY = 0  # the query's number among the images; references follow


@dataclass(frozen=True)
class ObservedPair:
    """One reference's observation of the query, and the cameras it rests on."""

    pair: PairObservation
    intrinsics_reference: Intrinsics
    intrinsics_query: Intrinsics
    size_ratio: float  # of the reference's pass to the query's; the query's depths are multiplied by it unless metric


def observe_references(
    query: Reference,
    references: Sequence[Reference],
    network: PairNetwork,
    subsample: int,
    metric: bool,
    clock: QueryClock,
) -> list[ObservedPair]:
    """Decode and match the query with every reference, in the references' order."""
    observed: dict[int, ObservedPair] = {}
    for passes in decode_references(query, references, network):
        clock.lap("decode")
        k = passes.j - 1
        observed[k] = observe(query, references[k], passes, subsample, metric)
        clock.lap("match")
    return [observed[k] for k in range(len(references))]


def decode_references(
    query: Reference,
    references: Sequence[Reference],
    network: PairNetwork,
) -> Iterator[PairPasses]:
    """Decode the query with every reference, both orders, in batches; the query is image 0, reference k image k + 1.

    Batch after batch, so that no more than one batch's dense maps are in memory however many references there are.
    """
    photos = [query, *references]
    store = TokenStore(len(photos))
    for index, photo in enumerate(photos):
        store.put(index, replace(photo.encoded, tokens=photo.encoded.tokens.to(query.encoded.tokens)))
    shapes = [store.shape(k) for k in range(len(photos))]
    names = [photo.name for photo in photos]
    pairs = [(QUERY, k) for k in range(1, len(photos))]
    for batch in plan_batches(pairs, shapes, pixels_per_batch(device_of(network))):
        yield from decode_pairs(network, store, batch, names)


def observe(
    query: Reference,
    reference: Reference,
    passes: PairPasses,  # the query is i
    subsample: int,
    metric: bool,
) -> ObservedPair:
    """Match one pair and read what pose estimation needs.

    Passes of a network that is not metric have scales of their own: the query's pass is brought to the reference's.
    """
    names = (query.name, reference.name)
    pass_query = described(passes.pass_ij[0], 0, names[0]), described(passes.pass_ij[1], 0, names[1])
    pass_reference = described(passes.pass_ji[0], 0, names[1]), described(passes.pass_ji[1], 0, names[0])
    matches = match_symmetric(passes.i, passes.j, pass_query, pass_reference, subsample)
    own_q, ref_in_q = (_points(view) for view in passes.pass_ij)
    own_r, query_in_r = (_points(view) for view in passes.pass_ji)
    conf_q, conf_ref_in_q = (_confidence(view) for view in passes.pass_ij)
    conf_r, conf_query_in_r = (_confidence(view) for view in passes.pass_ji)
    size_ratio = _size_ratio(own_r, ref_in_q)
    ratio = 1.0 if metric else size_ratio
    own_q, ref_in_q = own_q * ratio, ref_in_q * ratio
    camera_r = choose_intrinsics(reference.camera, reference.name, reference.geometry, reference.exif_focal, own_r, conf_r)
    camera_q = choose_intrinsics(query.camera, query.name, query.geometry, query.exif_focal, own_q, conf_q)
    peaks = [
        refine_matches(_descriptors(ref), _descriptors(own), matches.xy_j, matches.xy_i)
        for own, ref in (pass_query, pass_reference[::-1])
    ]
    pair = PairObservation(
        xy_reference=matches.xy_j.astype(np.float64),
        xy_query=np.mean(peaks, axis=0),
        conf=matches.conf.astype(np.float64),
        depth_reference=own_r[matches.xy_j[:, 1], matches.xy_j[:, 0], 2],
        depth_query=own_q[matches.xy_i[:, 1], matches.xy_i[:, 0], 2],
        K_reference=reference.geometry.intrinsics_to_network(camera_r.K),
        K_query=query.geometry.intrinsics_to_network(camera_q.K),
        size_reference=(own_r.shape[0], own_r.shape[1]),
        size_query=(own_q.shape[0], own_q.shape[1]),
        samples_reference=_sample(own_r, ref_in_q, np.minimum(conf_r, conf_ref_in_q)),
        samples_query=_sample(own_q, query_in_r, np.minimum(conf_q, conf_query_in_r)),
        shared_error=SHARED_ERROR,
    )
    usable = (pair.depth_reference > 0) & (pair.depth_query > 0)
    return ObservedPair(pair.take(usable), camera_r, camera_q, size_ratio)


def _descriptors(view: DescribedView) -> NDArray[np.float32]:  # (H, W, D)
    descriptors: NDArray[np.float32] = view.desc.cpu().numpy()
    return descriptors


def _points(view: ViewPrediction) -> Floats:  # (H, W, 3)
    points: Floats = view.pts3d[0].cpu().numpy().astype(np.float64)
    return points


def _confidence(view: ViewPrediction) -> Floats:  # (H, W)
    confidence: Floats = view.conf[0].cpu().numpy().astype(np.float64)
    return confidence


def _size_ratio(
    own: Floats,  # (H, W, 3) of one pass
    in_partner: Floats,  # (H, W, 3) the same pixels in the other pass
) -> float:
    """Size of one pass over that of the other, from the spread of the same pixels' points."""
    spreads = [
        np.median(np.linalg.norm(p - np.median(p, axis=0), axis=1)) for p in (own.reshape(-1, 3), in_partner.reshape(-1, 3))
    ]
    return float(spreads[0] / spreads[1]) if spreads[1] > 0 else 1.0


def _sample(own: Floats, in_partner: Floats, confidence: Floats) -> PointMapSamples:
    height, width = confidence.shape
    y, x = (axis.ravel() for axis in np.mgrid[GRID // 2 : height : GRID, GRID // 2 : width : GRID])
    xy = np.stack([x, y], axis=1).astype(np.float64)
    return PointMapSamples(xy, own[y, x], in_partner[y, x], np.maximum(confidence[y, x] - 1, 1e-3))
