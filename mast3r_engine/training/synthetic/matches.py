"""Exact correspondences between two rendered views, with occlusion."""

from __future__ import annotations

import torch
from torch import Tensor

from mast3r_engine.training.synthetic.randomness import uniform
from mast3r_engine.training.synthetic.render import pixel_rays
from mast3r_engine.training.synthetic.scene import Scenes
from mast3r_engine.training.synthetic.shapes import intersect

SAME_SURFACE = 2e-3  # relative difference of depth below which two hits are the same point


def draw_matches(
    scenes: Scenes,
    cam2world: Tensor,  # (B, 2, 4, 4)
    K: Tensor,  # (B, 2, 3, 3)
    depth: Tensor,  # (B, 2, H, W)
    count: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # xy_first (B, N, 2) int64, xy_second (B, N, 2) float32 unrounded, valid (B, N) bool
    """Random pixels of the first view and where the second view sees the same points.

    Twice as many pixels are tried and those with a match come first, so that pairs with much overlap have few negatives. A
    point counts as seen if the ray from the second camera through it ends at it. The others get random pixels and False.
    """
    B, _, H, W = depth.shape
    tried = 2 * count
    index = torch.randint(H * W, (B, tried), generator=generator, device=depth.device)
    xy = torch.stack((index % W, index // W), -1)
    z = depth[:, 0].flatten(1).gather(1, index)
    in_first = pixel_rays(K[:, :1], xy[:, None].float())[:, 0] * z[..., None]
    in_world = in_first @ cam2world[:, 0, :3, :3].transpose(1, 2) + cam2world[:, 0, None, :3, 3]
    in_second = (in_world - cam2world[:, 1, None, :3, 3]) @ cam2world[:, 1, :3, :3]
    z2 = in_second[..., 2]
    safe = z2.clamp(min=1e-3)
    xy2 = (in_second[..., :2] / safe[..., None]) * K[:, 1, None, [0, 1], [0, 1]] + K[:, 1, None, :2, 2]
    rounded = xy2.round()
    inside = (rounded >= 0).all(-1) & (rounded[..., 0] < W) & (rounded[..., 1] < H)
    rays = (in_world - cam2world[:, 1, None, :3, 3]) / safe[..., None]
    seen, _, _ = intersect(scenes, cam2world[:, 1:, None, :3, 3], rays[:, None])
    valid = (z > 0) & (z2 > 1e-3) & inside & ((seen[:, 0] - z2).abs() < SAME_SURFACE * z2)

    order = (uniform(generator, (B, tried), 0, 1) - valid.float()).argsort(1)[:, :count]
    valid = valid.gather(1, order)
    xy = xy.gather(1, order[..., None].expand(-1, -1, 2))
    xy2 = xy2.gather(1, order[..., None].expand(-1, -1, 2))
    stray = uniform(generator, (B, count, 2), 0, 1) * torch.tensor([W - 1, H - 1], device=depth.device)
    return xy, torch.where(valid[..., None], xy2, stray), valid
