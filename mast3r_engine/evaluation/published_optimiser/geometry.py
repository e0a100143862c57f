"""The published parameterisation: a chain of poses that sit on the scene, sizes, focal lengths and anchor depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.correspondences import PairMatches
from mast3r_engine.evaluation.published_optimiser.canonical import PublishedCanonical
from mast3r_engine.evaluation.published_optimiser.tree import kinematic_tree


@dataclass(frozen=True)
class Parameters:
    """What Adam moves."""

    quaternion: Tensor  # (N, 4) xyzw
    translation: Tensor  # (N, 3)
    log_size: Tensor  # (N,)
    log_focal: Tensor  # (N,)
    principal_point: Tensor  # (N, 2) fraction of (W, H)
    depth: Tensor  # (A,) anchors' depths over their image's median


@dataclass(frozen=True)
class Scene:
    """Constants: every match gives two points, one per side; 2M points in all, sorted by their image."""

    root: int
    edges: list[tuple[int, int]]
    size: Tensor  # (N, 2) W, H
    first_focal: Tensor  # (N,)
    median: Tensor  # (N,) of the canonical anchor depths
    anchor_image: Tensor  # (A,)
    anchor_depth: Tensor  # (A,)
    points_of: list[int]  # N point counts
    image: Tensor  # (2M,)
    anchor: Tensor  # (2M,)
    offset: Tensor  # (2M,)
    xy: Tensor  # (2M, 2)
    by_partner: Tensor  # (2M,) points sorted by their partner's image
    points_seen_by: list[int]  # N point counts
    partner_xy: Tensor  # (2M, 2) in the order of `by_partner`
    side_i: Tensor  # (M,) point of the first image
    side_j: Tensor  # (M,)
    conf: Tensor  # (M,)
    conf_of_point: Tensor  # (2M,) in the order of `by_partner`

    def parameters(self) -> Parameters:
        """Superposed cameras, canonical depths, fitted focal lengths."""
        views = len(self.size)
        return Parameters(
            torch.tensor([[0.0, 0.0, 0.0, 1.0]]).repeat(views, 1),
            torch.zeros(views, 3),
            torch.zeros(views),
            self.first_focal.log(),
            torch.full((views, 2), 0.5),
            self.anchor_depth / self.median[self.anchor_image],
        )


@dataclass(frozen=True)
class Cameras:
    """Derived anew in every step."""

    cam2world: Tensor  # (N, 4, 4)
    K: Tensor  # (N, 3, 3)
    focal: Tensor  # (N,)
    centre: Tensor  # (N, 2)
    anchor_depth: Tensor  # (A,)


def build_scene(canonicals: Sequence[PublishedCanonical], matches: Sequence[PairMatches]) -> Scene:
    """Flatten the correspondences and grow the kinematic tree."""
    counts = np.array([len(c.anchor_depth) for c in canonicals])
    first_anchor = np.concatenate([[0], np.cumsum(counts)])
    score = np.zeros((len(canonicals), len(canonicals)))
    for m in matches:
        score[m.i, m.j] = score[m.j, m.i] = len(m)
    root, edges = kinematic_tree(score, counts)
    sides = [(m.i, m.j, m.xy_i, m.xy_j) for m in matches] + [(m.j, m.i, m.xy_j, m.xy_i) for m in matches]
    anchor, offset = zip(*(_attach(canonicals[a], int(first_anchor[a]), xy) for a, _, xy, _ in sides), strict=True)
    image = np.concatenate([np.full(len(xy), a) for a, _, xy, _ in sides])
    partner = np.concatenate([np.full(len(xy), b) for _, b, xy, _ in sides])
    order = np.argsort(image, kind="stable")
    by_partner = np.argsort(partner[order], kind="stable")
    place = np.argsort(order)
    conf = np.concatenate([m.conf for m in matches])
    count, views = len(conf), len(canonicals)
    partner_xy = np.concatenate([xy for _, _, _, xy in sides])[order][by_partner]
    return Scene(
        root=root,
        edges=edges,
        size=torch.tensor([[float(c.width), float(c.height)] for c in canonicals]),
        first_focal=torch.tensor([c.focal for c in canonicals]),
        median=torch.tensor([float(np.sort(c.anchor_depth)[(len(c.anchor_depth) - 1) // 2]) for c in canonicals]),
        anchor_image=torch.from_numpy(np.repeat(np.arange(len(canonicals)), counts)),
        anchor_depth=torch.from_numpy(np.concatenate([c.anchor_depth for c in canonicals])).float(),
        points_of=np.bincount(image, minlength=views).tolist(),
        image=torch.from_numpy(image[order]),
        anchor=torch.from_numpy(np.concatenate(anchor)[order]),
        offset=torch.from_numpy(np.concatenate(offset)[order]).float(),
        xy=torch.from_numpy(np.concatenate([xy for _, _, xy, _ in sides])[order]).float(),
        by_partner=torch.from_numpy(by_partner),
        points_seen_by=np.bincount(partner, minlength=views).tolist(),
        partner_xy=torch.from_numpy(partner_xy).float(),
        side_i=torch.from_numpy(place[:count]),
        side_j=torch.from_numpy(place[count:]),
        conf=torch.from_numpy(conf),
        conf_of_point=torch.from_numpy(np.concatenate([conf, conf])[order][by_partner]),
    )


def cameras_of(scene: Scene, p: Parameters) -> Cameras:
    """Chain the poses, put the cameras in front of their scenes, scale the anchors' depths."""
    diagonal = scene.size.norm(dim=-1)
    focal = torch.minimum(torch.maximum(p.log_focal.exp(), 0.25 * diagonal), 10 * diagonal)
    centre = p.principal_point * scene.size
    size = p.log_size.exp()
    unit = 1 / size.min()
    plane = size * scene.median * focal / scene.first_focal
    R, T = _chain(scene, _rotation(p.quaternion), p.translation)
    middle = torch.cat([scene.size / focal[:, None] * (0.5 - p.principal_point), torch.ones(len(size), 1)], -1) * plane[:, None]
    position = unit * (T - (R @ middle[..., None])[..., 0])
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(size), 1, 4)
    cam2world = torch.cat([torch.cat([R, position[..., None]], -1), bottom], 1)
    own = scene.anchor_image
    depth = unit * (plane[own] + (p.depth - 1) * (scene.median * size)[own])
    K = torch.diag_embed(torch.stack([focal, focal, torch.ones_like(focal)], -1))
    K = K + torch.cat([torch.zeros(len(size), 3, 2), torch.cat([centre, torch.zeros(len(size), 1)], -1)[..., None]], -1)
    return Cameras(cam2world, K, focal, centre, depth)


def world_points(scene: Scene, cameras: Cameras) -> Tensor:  # (2M, 3)
    """Unproject every matched pixel with its anchor's depth."""
    anchors = torch.split(cameras.anchor_depth[scene.anchor], scene.points_of)
    points = []
    for k, (xy, first_offset, anchor) in enumerate(
        zip(torch.split(scene.xy, scene.points_of), torch.split(scene.offset, scene.points_of), anchors, strict=True)
    ):
        depth = anchor * (1 + (first_offset - 1) * (scene.first_focal[k] / cameras.focal[k]))
        local = torch.cat([(xy - cameras.centre[k]) * (depth / cameras.focal[k])[:, None], depth[:, None]], -1)
        points.append(local @ cameras.cam2world[k, :3, :3].T + cameras.cam2world[k, :3, 3])
    return torch.cat(points)


def _attach(
    canonical: PublishedCanonical, first_anchor: int, xy: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    s = canonical.subsample
    anchor = (xy[:, 1] // s) * (canonical.width // s) + xy[:, 0] // s
    return first_anchor + anchor, canonical.offset[xy[:, 1], xy[:, 0]]


def _chain(scene: Scene, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    rotations: dict[int, Tensor] = {scene.root: R[scene.root]}
    positions: dict[int, Tensor] = {scene.root: t[scene.root]}
    for parent, child in scene.edges:
        rotations[child] = rotations[parent] @ R[child]
        positions[child] = rotations[parent] @ t[child] + positions[parent]
    views = range(len(R))
    return torch.stack([rotations[k] for k in views]), torch.stack([positions[k] for k in views])


def _rotation(q: Tensor) -> Tensor:  # (N, 4) xyzw -> (N, 3, 3)
    x, y, z, w = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).view(-1, 3, 3)
