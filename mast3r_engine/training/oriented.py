"""Pairs with upright photographs in landscape batches: the network sees every view as it was taken.

Views taken upright are stored transposed, so that all views of a batch have one shape (`PairBatch.portrait` tells which). Before
the network they are turned back, and its maps are transposed again, so that they lie over what is stored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_engine.network import Network
from mast3r_engine.predictions import Outputs, ViewPrediction
from mast3r_engine.training.forward import Predict, predict

Prediction = tuple[ViewPrediction, ViewPrediction]


def predict_oriented(
    run: Predict,
    net: Network,
    images: Tensor,  # (B, 2, 3, H, W)
    portrait: Tensor,  # (B, 2) bool
    symmetrise: bool,
    outputs: Outputs,
) -> Prediction:
    """As `predict`, in the same order, but pairs are grouped by how their two views are stored.

    Only a batch without upright views goes through `run`: the groups' sizes change, and a compiled `run` would not end compiling.
    """
    if not bool(portrait.any()):
        return run(net, images, symmetrise, outputs)
    found, places = [], []
    for first in (False, True):
        for second in (False, True):
            index = ((portrait[:, 0] == first) & (portrait[:, 1] == second)).nonzero()[:, 0]
            if len(index):
                found.append(_predict_group(net, images[index], (first, second), symmetrise, outputs))
                places.append(torch.cat((index, index + len(images))) if symmetrise else index)
    order = torch.cat(places).argsort()
    return _join([pair[0] for pair in found], order), _join([pair[1] for pair in found], order)


def _predict_group(net: Network, images: Tensor, portrait: tuple[bool, bool], symmetrise: bool, outputs: Outputs) -> Prediction:
    if portrait[0] == portrait[1]:
        first, second = predict(net, _turn(images, portrait[0]), symmetrise, outputs)
        return _stored(first, portrait[0]), _stored(second, portrait[1])
    a, b = (net.encode(_turn(images[:, view], portrait[view])) for view in (0, 1))
    orders = [(a, b, portrait)] + ([(b, a, portrait[::-1])] if symmetrise else [])
    passes = []
    for one, other, flags in orders:
        first, second = net.decode(one, other, outputs)
        passes.append((_stored(first, flags[0]), _stored(second, flags[1])))
    return _join([p[0] for p in passes]), _join([p[1] for p in passes])


def _turn(images: Tensor, portrait: bool) -> Tensor:
    return images.transpose(-1, -2).contiguous() if portrait else images


def _stored(view: ViewPrediction, portrait: bool) -> ViewPrediction:
    if not portrait:
        return view
    desc = None if view.desc is None else view.desc.transpose(1, 2)
    desc_conf = None if view.desc_conf is None else view.desc_conf.transpose(1, 2)
    return ViewPrediction(view.pts3d.transpose(1, 2), view.conf.transpose(1, 2), desc, desc_conf)


def _join(views: list[ViewPrediction], order: Tensor | None = None) -> ViewPrediction:
    def join(maps: list[Tensor | None]) -> Tensor | None:
        present = [m for m in maps if m is not None]
        if not present:
            return None
        whole = torch.cat(present)
        return whole if order is None else whole[order]

    pts3d, conf = join([v.pts3d for v in views]), join([v.conf for v in views])
    assert pts3d is not None
    assert conf is not None
    return ViewPrediction(pts3d, conf, join([v.desc for v in views]), join([v.desc_conf for v in views]))
