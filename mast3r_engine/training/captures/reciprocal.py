"""Correspondences from depth and poses: pixels that find each other again."""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_engine.training.batch import points_in_camera, valid_depth

SAME_DEPTH = 0.05  # relative difference below which two depths are one surface's


def reciprocal_pixels(
    depth: Tensor,  # (2, H, W)
    K: Tensor,  # (2, 3, 3)
    cam2world: Tensor,  # (2, 4, 4)
) -> tuple[Tensor, Tensor]:  # where each pixel lies in the other view, (2, H * W, 2); whether its round trip returns, (2, H * W)
    """Project each view into the other, round, and keep what comes back exactly, lies in front and agrees in depth."""
    xy_there, there, seen = _project(depth, K, cam2world, 0)
    xy_back, back, seen_back = _project(depth, K, cam2world, 1)
    own = torch.arange(there.shape[0], device=depth.device)
    kept_first = seen & seen_back[there] & (back[there] == own)
    kept_second = seen_back & seen[back] & (there[back] == own)
    return torch.stack((xy_there, xy_back)), torch.stack((kept_first, kept_second))


def _project(depth: Tensor, K: Tensor, cam2world: Tensor, source: int) -> tuple[Tensor, Tensor, Tensor]:
    other = 1 - source
    H, W = depth.shape[1:]
    motion = torch.linalg.inv(cam2world[other].double()) @ cam2world[source].double()
    points = points_in_camera(depth[source].double(), K[source].double()).reshape(-1, 3)
    points = points @ motion[:3, :3].T + motion[:3, 3]
    z = points[:, 2]
    projected = points @ K[other].double().T
    exact = (projected[:, :2] / z.clamp(min=1e-6)[:, None]).nan_to_num(0.0, 0.0, 0.0)
    xy = exact.round()
    inside = (xy[:, 0] >= 0) & (xy[:, 0] < W) & (xy[:, 1] >= 0) & (xy[:, 1] < H)
    index = xy[:, 1].clamp(0, H - 1).long() * W + xy[:, 0].clamp(0, W - 1).long()
    met = depth[other].flatten()[index].double()
    agree = valid_depth(met) & ((met - z).abs() < SAME_DEPTH * z)
    return exact, index, valid_depth(depth[source]).flatten() & (z > 1e-6) & inside & agree


def sample_matches(
    partner: Tensor,  # (H * W, 2) where the first view's pixels lie in the second, between its pixels
    kept: Tensor,  # (2, H * W) bool
    width: int,
    count: int,
    generator: torch.Generator,
    negatives: float = 0.5,  # share that should be unmatched pixels
) -> tuple[Tensor, Tensor, Tensor]:  # xy_first (N, 2), xy_second (N, 2), matched (N,)
    """Positives at random, then unmatched pixels of both views paired arbitrarily, then more positives or repeated negatives."""
    positive = _shuffled(kept[0].nonzero()[:, 0], generator)
    free = [_shuffled((~kept[view]).nonzero()[:, 0], generator) for view in (0, 1)]
    n_positive = min(len(positive), int(count * (1 - negatives)))
    n_negative = min(count - n_positive, len(free[0]), len(free[1]))
    n_positive = min(len(positive), count - n_negative)
    first = torch.cat((positive[:n_positive], free[0][:n_negative]))
    second = torch.cat((partner[positive[:n_positive]].float(), _to_xy(free[1][:n_negative], width)))
    matched = torch.arange(len(first)) < n_positive
    short = count - len(first)
    if short:  # tiny images: repeat pixels as negatives, which a batch of one size needs
        repeats = torch.randint(kept.shape[1], (2, short), generator=generator)
        first, second = torch.cat((first, repeats[0])), torch.cat((second, _to_xy(repeats[1], width)))
        matched = torch.cat((matched, torch.zeros(short, dtype=torch.bool)))
    return _to_xy(first, width), second, matched


def _shuffled(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator)]


def _to_xy(index: Tensor, width: int) -> Tensor:
    return torch.stack((index % width, index // width), -1).float()
