"""Drawing two cameras that look at the same part of each scene."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.synthetic.layout import FLOOR, TABLE, WALL
from mast3r_engine.training.synthetic.randomness import normal, uniform
from mast3r_engine.training.synthetic.scene import Scenes

CANDIDATES = 4  # positions drawn for each camera; the one with most free space around it is taken
WALL_MARGIN = 0.2  # metres kept from the room's walls
MIN_FOCAL_JITTER, MAX_FOCAL_JITTER = 0.8, 1.25


@dataclass(frozen=True)
class CameraRanges:
    """How pairs of cameras are drawn; angles in degrees."""

    fov: tuple[float, float] = (35.0, 85.0)  # horizontal field of view
    angle: tuple[float, float] = (0.0, 30.0)  # between the two directions towards the common target
    zoom: float = 0.15  # standard deviation of the log ratio of the two distances to the target
    roll: float = 5.0  # standard deviation
    aim: float = 0.1  # how far each camera aims past the target, standard deviation over the distance


@dataclass(frozen=True)
class CameraPairs:
    """Two pinhole cameras for each of B scenes; OpenCV axes, pixel centres at integers."""

    cam2world: Tensor  # (B, 2, 4, 4) metres
    K: Tensor  # (B, 2, 3, 3) pixels


def draw_cameras(
    scenes: Scenes,
    layout: Tensor,  # (B,) int64
    height: int,
    width: int,
    ranges: CameraRanges,
    generator: torch.Generator,
) -> CameraPairs:
    """Draw the first camera around a target among the solids, and the second on an orbit of it."""
    B = layout.shape[0]
    target = _draw_target(scenes, layout, generator)
    by_layout = torch.tensor([[0.7, 2.2, 8, 55], [1.2, 3.5, 2, 45], [1.2, 4.0, -10, 25]], device=layout.device)[layout]
    low_r, high_r, low_e, high_e = by_layout[:, :, None].unbind(1)
    shape = (B, CANDIDATES)
    radius = low_r * (high_r / low_r) ** uniform(generator, shape, 0, 1)
    elevation = torch.deg2rad(low_e + (high_e - low_e) * uniform(generator, shape, 0, 1))
    spread = torch.where(layout == WALL, 0.9, math.pi)[:, None]
    azimuth = -math.pi / 2 + spread * uniform(generator, shape, -1, 1)
    first, chosen = _freest(scenes, _orbit(target, radius, azimuth, elevation))

    picked = [values.gather(1, chosen[:, None]) for values in (radius, azimuth, elevation)]
    angle = torch.deg2rad(uniform(generator, (B, 1), *ranges.angle))
    sign = torch.where(uniform(generator, shape, 0, 1) < 0.5, -1.0, 1.0)
    turn = uniform(generator, shape, -0.6, 0.6)  # mostly sideways
    azimuth2 = picked[1] + sign * angle * turn.cos() / picked[2].cos().clamp(min=0.4)
    elevation2 = (picked[2] + angle * turn.sin()).clamp(-0.3, 1.3)
    radius2 = picked[0] * torch.exp(normal(generator, shape, ranges.zoom))
    second, _ = _freest(scenes, _orbit(target, radius2, azimuth2, elevation2))

    position = torch.stack((first, second), 1)
    distance = (position - target[:, None]).norm(dim=-1, keepdim=True)
    aim = target[:, None] + normal(generator, (B, 2, 3), ranges.aim) * distance
    roll = normal(generator, (B, 2), math.radians(ranges.roll))
    return CameraPairs(look_at(position, aim, roll), _draw_intrinsics(B, height, width, ranges, generator))


def look_at(
    position: Tensor,  # (..., 3)
    target: Tensor,  # (..., 3)
    roll: Tensor,  # (...) radians
) -> Tensor:  # (..., 4, 4) cam2world
    """A camera at `position` that sees `target` in its centre, world z up."""
    forward = functional.normalize(target - position, dim=-1)
    up = torch.zeros_like(forward)
    up[..., 2] = 1
    right = functional.normalize(torch.linalg.cross(forward, up, dim=-1), dim=-1)
    down = torch.linalg.cross(forward, right, dim=-1)
    c, s = roll.cos()[..., None], roll.sin()[..., None]
    rotation = torch.stack((c * right + s * down, c * down - s * right, forward), -1)
    pose = torch.eye(4, device=position.device).expand(*position.shape[:-1], 4, 4).clone()
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = position
    return pose


def _draw_target(scenes: Scenes, layout: Tensor, generator: torch.Generator) -> Tensor:  # (B, 3)
    B = layout.shape[0]
    x = uniform(generator, (B,), -0.3, 0.3)
    top = 2 * scenes.half[:, 1, 2]
    z = torch.where(layout == TABLE, top + 0.1, torch.where(layout == FLOOR, 0.35, scenes.half[:, 0, 2]))
    y = torch.where(layout == WALL, scenes.half[:, 0, 1] - 0.1, uniform(generator, (B,), -0.2, 0.2))
    return torch.stack((x, y, z), -1)


def _orbit(target: Tensor, radius: Tensor, azimuth: Tensor, elevation: Tensor) -> Tensor:  # (B, C, 3)
    flat = radius * elevation.cos()
    offset = torch.stack((flat * azimuth.cos(), flat * azimuth.sin(), radius * elevation.sin()), -1)
    return target[:, None] + offset


def _freest(scenes: Scenes, candidates: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, 3) -> (B, 3), (B,)
    """Keep candidates inside the room and take the one farthest from all solids."""
    limit = (scenes.half[:, None, 0] - WALL_MARGIN).clamp(min=0.1)
    inside = scenes.centre[:, None, 0] + torch.minimum(torch.maximum(candidates - scenes.centre[:, None, 0], -limit), limit)
    offset = torch.einsum("bkji,bckj->bcki", scenes.rotation[:, 1:], inside[:, :, None] - scenes.centre[:, None, 1:])
    gap = (offset.abs() - scenes.half[:, None, 1:]).clamp(min=0).norm(dim=-1)
    gap = torch.where(scenes.active[:, None, 1:], gap, 10.0).amin(dim=2).clamp(max=0.4)
    moved = (inside - candidates).norm(dim=-1)
    chosen = (gap - 0.3 * moved).argmax(dim=1)
    return inside[torch.arange(chosen.shape[0], device=chosen.device), chosen], chosen


def _draw_intrinsics(B: int, height: int, width: int, ranges: CameraRanges, generator: torch.Generator) -> Tensor:
    """Mostly the same lens twice, sometimes two different ones; principal point in the middle."""
    fov = torch.deg2rad(uniform(generator, (B, 1), *ranges.fov))
    focal = (width / 2) / torch.tan(fov / 2)
    changed = uniform(generator, (B, 2), 0, 1) < 0.15
    focal = focal * torch.where(changed, uniform(generator, (B, 2), MIN_FOCAL_JITTER, MAX_FOCAL_JITTER), 1.0)
    K = torch.zeros(B, 2, 3, 3, device=generator.device)
    K[..., 0, 0] = K[..., 1, 1] = focal
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = (width - 1) / 2, (height - 1) / 2, 1
    return K
