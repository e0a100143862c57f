"""Turning views by quarters, with their cameras and correspondences (the published `aug_rot90`)."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from mast3r_engine.training.batch import PairBatch
from mast3r_engine.training.mixture import PairSource, expect_batch, seeded

QuarterTurns = Literal["off", "same", "diff"]  # diff: each view of a pair by its own number of quarters
SALT = 7  # keeps these draws apart from the source's


class TurnedSource:
    """Another source's batches, every pair turned at random; decided by seed and number."""

    def __init__(self, source: PairSource, mode: QuarterTurns) -> None:
        self._source, self._mode = source, mode

    def draw(self, count: int, seed: int, number: int) -> PairBatch:
        """As the source's."""
        batch = self._source.draw(count, seed, number)
        turns = torch.randint(4, (count, 2), generator=seeded(seed * 11 + SALT, number))
        if self._mode == "same":
            turns = turns[:, :1].expand(-1, 2)
        return turn_views(batch, turns.to(batch.depth.device))

    def expect(self, count: int, seed: int, number: int) -> None:
        """As the source's."""
        expect_batch(self._source, count, seed, number)


def turn_views(
    batch: PairBatch,
    turns: Tensor,  # (B, 2) quarters clockwise, 0 to 3
) -> PairBatch:
    """Each view as a camera rolled by quarters would have taken it; what that makes upright is stored transposed.

    With u the pixels and p the camera's points: u' = F u for the flip F of what is stored, p' = R p, so K' = F K R^-1.
    """
    H, W = batch.depth.shape[-2:]
    odd = turns % 2 == 1
    flip_x = (turns == 2) | (odd & ((turns == 3) ^ batch.portrait))
    flip_y = (turns == 2) | (odd & ((turns == 1) ^ batch.portrait))
    flip = _flip(flip_x, flip_y, W, H).to(batch.K.dtype)
    back = _roll(turns).transpose(-1, -2).to(batch.K.dtype)
    cam2world = batch.cam2world.clone()
    cam2world[..., :3, :3] = batch.cam2world[..., :3, :3] @ back
    return dataclasses.replace(
        batch,
        images=_flip_maps(batch.images, flip_x[..., None, None, None], flip_y[..., None, None, None]),
        depth=_flip_maps(batch.depth, flip_x[..., None, None], flip_y[..., None, None]),
        K=flip @ batch.K @ back,
        cam2world=cam2world,
        xy_first=_flip_pixels(batch.xy_first, flip[:, 0]),
        xy_second=_flip_pixels(batch.xy_second, flip[:, 1]),
        portrait=batch.portrait ^ odd,
    )


def _roll(turns: Tensor) -> Tensor:  # (B, 2) -> (B, 2, 3, 3): from the old camera's axes to those of the rolled one
    cosine = torch.tensor([1.0, 0.0, -1.0, 0.0], device=turns.device)[turns]
    sine = torch.tensor([0.0, 1.0, 0.0, -1.0], device=turns.device)[turns]
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    return torch.stack((cosine, -sine, zero, sine, cosine, zero, zero, zero, one), -1).reshape(*turns.shape, 3, 3)


def _flip(flip_x: Tensor, flip_y: Tensor, width: int, height: int) -> Tensor:  # (B, 2) twice -> (B, 2, 3, 3)
    matrix = torch.eye(3, device=flip_x.device).repeat(*flip_x.shape, 1, 1)
    matrix[..., 0, 0], matrix[..., 0, 2] = 1 - 2.0 * flip_x, (width - 1.0) * flip_x
    matrix[..., 1, 1], matrix[..., 1, 2] = 1 - 2.0 * flip_y, (height - 1.0) * flip_y
    return matrix


def _flip_maps(maps: Tensor, flip_x: Tensor, flip_y: Tensor) -> Tensor:
    maps = torch.where(flip_x, maps.flip(-1), maps)
    return torch.where(flip_y, maps.flip(-2), maps)


def _flip_pixels(xy: Tensor, flip: Tensor) -> Tensor:  # (B, N, 2), (B, 3, 3)
    return xy * torch.stack((flip[:, 0, 0], flip[:, 1, 1]), -1)[:, None].to(xy.dtype) + flip[:, None, :2, 2].to(xy.dtype)
