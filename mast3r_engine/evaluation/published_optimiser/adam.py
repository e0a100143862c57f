"""Two Adam runs over poses, sizes, focal lengths and anchor depths, as published."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.published_optimiser.canonical import PublishedCanonical
from mast3r_engine.evaluation.published_optimiser.geometry import Cameras, Scene, build_scene, cameras_of, world_points

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PublishedSchedule:
    """Steps, learning rates and exponents of both stages."""

    coarse_steps: int = 500
    coarse_rate: float = 0.07
    coarse_gamma: float = 1.5
    fine_steps: int = 200
    fine_rate: float = 0.014
    fine_gamma: float = 0.5


@dataclass(frozen=True)
class PublishedResult:
    """Cameras of the N images, and the loss at every step."""

    cam2world: Floats  # (N, 4, 4)
    K: Floats  # (N, 3, 3)
    losses: list[float]


def optimise_as_published(
    canonicals: Sequence[PublishedCanonical], matches: Sequence[PairMatches], schedule: PublishedSchedule | None = None
) -> PublishedResult:
    """Run both stages from superposed cameras, every view with its own focal length, all pairs usable; float32."""
    plan = PublishedSchedule() if schedule is None else schedule
    scene = build_scene(canonicals, matches)
    parameters = scene.parameters()
    losses: list[float] = []
    poses = [parameters.quaternion, parameters.translation, parameters.log_size]
    everything = [*poses, parameters.log_focal, parameters.principal_point, parameters.depth]
    coarse = _gamma_loss(plan.coarse_gamma)
    fine = _gamma_loss(plan.fine_gamma)

    def distance_loss(cameras: Cameras) -> Tensor:
        points = world_points(scene, cameras)
        error = (points[scene.side_i] - points[scene.side_j]).norm(dim=-1)
        return (scene.conf * coarse(error)).sum() / scene.conf.sum()

    def reprojection_loss(cameras: Cameras) -> Tensor:
        error = _reprojection_error(scene, cameras)
        return (scene.conf_of_point * fine(error)).sum() / scene.conf_of_point.sum()

    cameras = cameras_of(scene, parameters)
    for loss, trained, rate, steps in (
        (distance_loss, poses, plan.coarse_rate, plan.coarse_steps),
        (reprojection_loss, everything, plan.fine_rate, plan.fine_steps),
    ):
        optimiser = torch.optim.Adam(trained, lr=rate, betas=(0.9, 0.9))
        for tensor in everything:
            tensor.requires_grad_(any(tensor is t for t in trained))
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
            optimiser.zero_grad()
            cameras = cameras_of(scene, parameters)
            value = loss(cameras)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                parameters.quaternion.div_(parameters.quaternion.norm(dim=-1, keepdim=True))
            losses.append(float(value.detach()))
    return PublishedResult(cameras.cam2world.detach().double().numpy(), cameras.K.detach().double().numpy(), losses)


def _gamma_loss(gamma: float) -> Callable[[Tensor], Tensor]:
    """rho(e) = (e + b)^gamma - b^gamma with rho'(0) = 1."""
    offset = (1 / gamma) ** (1 / (gamma - 1))

    def loss(error: Tensor) -> Tensor:
        value: Tensor = torch.pow(error + offset, gamma) - offset**gamma
        return value

    return loss


def _reprojection_error(scene: Scene, cameras: Cameras) -> Tensor:  # (2M,) in the order of `by_partner`
    """Every point, projected into the partner's image, against the pixel matched there."""
    points = torch.split(world_points(scene, cameras)[scene.by_partner], scene.points_seen_by)
    world2cam = torch.linalg.inv(cameras.cam2world)
    projection = cameras.K @ world2cam[:, :3]  # (N, 3, 4)
    image = torch.cat([part @ P[:, :3].T + P[:, 3] for part, P in zip(points, projection, strict=True)])
    xy = image[:, :2] / image[:, 2:].clamp(min=1e-3)
    error: Tensor = torch.linalg.vector_norm(scene.partner_xy - xy.clamp(-1000, 2000), dim=-1)
    return error
