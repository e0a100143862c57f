"""The correspondences of a pair of photographs, with confidences, from one decoder pass or from both."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.errors import NetworkOutputError
from mast3r_engine.matching.described import DescribedView, as_map
from mast3r_engine.matching.merge import merge
from mast3r_engine.matching.reciprocal import Indices, MapPair, to_pixels


def match_symmetric(
    i: int,
    j: int,
    pass_ij: tuple[DescribedView, DescribedView],  # view i, view j, decoded with i first
    pass_ji: tuple[DescribedView, DescribedView],  # view j, view i, decoded with j first
    subsample: int = 8,
) -> PairMatches:
    """Matches of images i and j from both decoder passes, each searched from both images' grids.

    Confidence: the geometric mean of both pixels', from the first run that found the pair (i's pass before j's, from i's grid
    before j's). NetworkOutputError names the image whose descriptors or confidences cannot be used.
    """
    names = (f"image {i} (with image {j})", f"image {j} (with image {i})")
    runs = _runs(pass_ij[0], pass_ij[1], names, subsample) + _runs(pass_ji[1], pass_ji[0], names, subsample)
    return _collect(i, j, runs, (_width(pass_ij[0]), _width(pass_ij[1])), geometric=True)


def match_one_pass(
    i: int,
    j: int,
    pass_ij: tuple[DescribedView, DescribedView],  # view i, view j, decoded with i first
    subsample: int = 8,
    pixel_tol: float = 0.0,
) -> PairMatches:
    """Matches of images i and j from one decoder pass, searched from both images' grids.

    Confidence: the smaller of both pixels'. With `pixel_tol` > 0, grid pixels are kept that come back from one round trip closer
    than that many pixels, instead of exactly mutual pairs.
    """
    names = (f"image {i} (with image {j})", f"image {j} (with image {i})")
    runs = _runs(pass_ij[0], pass_ij[1], names, subsample, pixel_tol)
    return _collect(i, j, runs, (_width(pass_ij[0]), _width(pass_ij[1])), geometric=False)


Run = tuple[Indices, Indices, NDArray[np.float32], NDArray[np.float32]]  # indices in i and j, confidences of i and j


def _runs(
    view_i: DescribedView,
    view_j: DescribedView,
    names: tuple[str, str],
    subsample: int,
    pixel_tol: float = 0.0,
) -> list[Run]:
    """Search one decoder pass from i's grid, then from j's."""
    pair = MapPair(as_map(view_i.desc, names[0]), as_map(view_j.desc, names[1]), names)
    conf_i, conf_j = _confidence(view_i, names[0]), _confidence(view_j, names[1])
    if pixel_tol > 0:
        found = [pair.round_trip_from_a(subsample, pixel_tol), pair.round_trip_from_b(subsample, pixel_tol)]
    else:
        found = [pair.walk_from_a(subsample), pair.walk_from_b(subsample)]
    return [(idx_i, idx_j, conf_i[idx_i], conf_j[idx_j]) for idx_i, idx_j in found]


def _collect(i: int, j: int, runs: list[Run], widths: tuple[int, int], geometric: bool) -> PairMatches:
    all_i, all_j, conf_i, conf_j = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    idx_i, idx_j, first = merge(all_i, all_j)
    conf = np.sqrt(conf_i[first] * conf_j[first]) if geometric else np.minimum(conf_i[first], conf_j[first])
    return PairMatches(i, j, to_pixels(idx_i, widths[0]), to_pixels(idx_j, widths[1]), conf)


def _confidence(view: DescribedView, name: str) -> NDArray[np.float32]:
    conf: Tensor = view.conf.detach().float()
    if conf.shape != view.desc.shape[:2]:
        raise NetworkOutputError(f"{name}: confidences are {tuple(conf.shape)}, descriptors {tuple(view.desc.shape)}")
    if not bool(torch.isfinite(conf).all()) or bool((conf < 0).any()):
        raise NetworkOutputError(f"{name}: matching confidences must be finite and not negative")
    flat: NDArray[np.float32] = conf.flatten().cpu().numpy()
    return flat


def _width(view: DescribedView) -> int:
    return int(view.desc.shape[1])
