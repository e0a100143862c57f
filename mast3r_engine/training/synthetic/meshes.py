"""Small random triangle meshes: uneven ground and stones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.synthetic.randomness import uniform

GROUND_CELLS = 5
TRIANGLES = 2 * GROUND_CELLS**2


def draw_meshes(count: int, meshes: int, generator: torch.Generator) -> Tensor:  # (B, M, T, 3, 3) in the unit box
    """The first mesh of each scene is a height field over its box's floor, the others are stones."""
    parts = [_ground(count, generator)] if meshes else []
    parts += [_stone(count, generator) for _ in range(meshes - 1)]
    return torch.stack(parts, 1) if parts else torch.zeros(count, 0, TRIANGLES, 3, 3, device=generator.device)


def _ground(count: int, generator: torch.Generator) -> Tensor:  # (B, T, 3, 3)
    edge = GROUND_CELLS + 1
    axis = torch.linspace(-1, 1, edge, device=generator.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    height = uniform(generator, (count, edge, edge), -1.0, 1.0)
    rim = (x.abs().maximum(y.abs()) > 0.99).expand_as(height)
    height = torch.where(rim, -1.0, height)
    vertices = torch.stack((x.expand_as(height), y.expand_as(height), height), -1)
    a, b, c, d = vertices[:, :-1, :-1], vertices[:, :-1, 1:], vertices[:, 1:, 1:], vertices[:, 1:, :-1]
    return torch.stack((torch.stack((a, b, c), -2), torch.stack((a, c, d), -2)), -3).reshape(count, TRIANGLES, 3, 3)


def _stone(count: int, generator: torch.Generator) -> Tensor:  # (B, T, 3, 3)
    """An icosahedron with each corner pulled in or out; the triangles it lacks are empty."""
    corners, faces = icosahedron(generator.device)
    radius = uniform(generator, (count, 12, 1), 0.45, 1.0)
    triangles = (corners * radius)[:, faces]
    return functional.pad(triangles, (0, 0, 0, 0, 0, TRIANGLES - faces.shape[0]))


def icosahedron(device: torch.device) -> tuple[Tensor, Tensor]:  # (12, 3) unit vectors, (20, 3) int64
    """Corners, and faces as triples of corners one edge length apart."""
    golden = (1 + math.sqrt(5)) / 2
    base = [(0.0, s, t * golden) for s in (-1.0, 1.0) for t in (-1.0, 1.0)]
    turned = [(p[k % 3], p[(k + 1) % 3], p[(k + 2) % 3]) for k in range(3) for p in base]
    corners = functional.normalize(torch.tensor(turned, device=device), dim=1)
    near = torch.cdist(corners, corners) < 1.1  # edges are 1.05 long, the next distance is 1.70
    faces = [
        (i, j, k)
        for i in range(12) for j in range(i + 1, 12) for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]  # fmt: skip
    return corners, torch.tensor(faces, device=device)
