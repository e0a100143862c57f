"""From scenes and cameras to images and exact depth, by casting one ray per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mast3r_engine.training.synthetic.scene import Scenes
from mast3r_engine.training.synthetic.shapes import FAR, intersect
from mast3r_engine.training.synthetic.textures import sample_textures


def pixel_rays(
    K: Tensor,  # (B, V, 3, 3)
    xy: Tensor,  # (B, V, P, 2) pixels
) -> Tensor:  # (B, V, P, 3) in the camera, z = 1
    """Directions through pixels; with z = 1 the ray parameter is the depth."""
    focal = torch.stack((K[..., 0, 0], K[..., 1, 1]), -1)[:, :, None]
    return functional.pad((xy - K[:, :, None, :2, 2]) / focal, (0, 1), value=1.0)


def render(
    scenes: Scenes,
    cam2world: Tensor,  # (B, V, 4, 4)
    K: Tensor,  # (B, V, 3, 3)
    height: int,
    width: int,
    shadows: bool = False,
) -> tuple[Tensor, Tensor]:  # colours (B, V, H, W, 3) in [0, 1], z-depth (B, V, H, W) metres, negative in the sky
    """Cast, shade and texture; no lens, sensor or exposure yet."""
    rows, columns = torch.meshgrid(torch.arange(height, device=K.device), torch.arange(width, device=K.device), indexing="ij")
    xy = torch.stack((columns, rows), -1).reshape(1, 1, -1, 2).float()
    rays_in_camera = pixel_rays(K, xy)
    rays = rays_in_camera @ cam2world[..., :3, :3].transpose(2, 3)
    origin = cam2world[..., None, :3, 3]
    depth, slot, triangle = intersect(scenes, origin, rays)
    surface = find_surface(scenes, origin + rays * depth[..., None], slot, triangle)
    hit = (depth < FAR) & ~surface.is_sky
    colours = shade(scenes, surface, rays, depth, K[:, :, None, 0, 0], hit, shadows)
    depth = torch.where(hit, depth, -1.0)
    shape = (*depth.shape[:2], height, width)
    return colours.reshape(*shape, 3), depth.reshape(shape)


@dataclass(frozen=True)
class Surface:
    """What rays have hit."""

    slot: Tensor  # (B, V, P) int64
    point: Tensor  # (B, V, P, 3) in the world
    local: Tensor  # (B, V, P, 3) metres along the solid's axes
    normal: Tensor  # (B, V, P, 3) unit, in the world, pointing outwards
    axis: Tensor  # (B, V, P) int64, the solid's axis that the normal is nearest to
    side: Tensor  # (B, V, P) int64, 2 * axis, + 1 on the positive side
    is_sky: Tensor  # (B, V, P) bool


def find_surface(
    scenes: Scenes,
    point: Tensor,  # (B, V, P, 3)
    slot: Tensor,  # (B, V, P)
    triangle: Tensor,  # (B, V, P)
) -> Surface:
    """Normals and texture sides of points on solids."""
    batch = torch.arange(slot.shape[0], device=slot.device)[:, None, None]
    rotation, half = scenes.rotation[batch, slot], scenes.half[batch, slot]
    local = (rotation * (point - scenes.centre[batch, slot])[..., None]).sum(-2)
    unit = local / half
    unit_normal = _unit_normal(scenes, unit, slot, triangle, batch)
    normal = functional.normalize((rotation * (unit_normal / half)[..., None, :]).sum(-1), dim=-1)
    axis = unit_normal.abs().argmax(-1)
    side = 2 * axis + (unit_normal.gather(-1, axis[..., None])[..., 0] > 0).long()
    is_sky = scenes.open_air[:, None, None] & (slot == 0) & (unit[..., 2] > -0.999)
    return Surface(slot, point, local, normal, axis, side, is_sky)


def _unit_normal(scenes: Scenes, unit: Tensor, slot: Tensor, triangle: Tensor, batch: Tensor) -> Tensor:
    """Normals of the unit shapes, of any length."""
    counts = scenes.slots
    first_tube, first_mesh = 1 + counts.boxes + counts.ellipsoids, counts.total - counts.meshes
    is_ball = (slot > counts.boxes) & (slot < first_tube)
    is_tube = (slot >= first_tube) & (slot < first_mesh) & (unit[..., 2].abs() < 0.999)
    of_box = functional.one_hot(unit.abs().argmax(-1), 3) * unit.sign()
    of_tube = functional.pad(unit[..., :2], (0, 1))
    normal = torch.where(is_ball[..., None], unit, torch.where(is_tube[..., None], of_tube, of_box))
    if not counts.meshes:
        return normal
    corners = scenes.triangles
    of_triangles = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :], dim=-1)
    of_mesh = of_triangles[batch, (slot - first_mesh).clamp(min=0), triangle]
    return torch.where((slot >= first_mesh)[..., None], of_mesh, normal)


def shade(
    scenes: Scenes,
    surface: Surface,
    rays: Tensor,  # (B, V, P, 3)
    depth: Tensor,  # (B, V, P)
    focal: Tensor,  # (B, V, 1) pixels
    hit: Tensor,  # (B, V, P) bool; the sky elsewhere
    shadows: bool,
) -> Tensor:  # (B, V, P, 3)
    """Lambert and a Blinn-Phong highlight under one distant light, on textured surfaces."""
    batch = torch.arange(depth.shape[0], device=depth.device)[:, None, None]
    distance = rays.norm(dim=-1)
    view = -rays / distance[..., None]
    facing = (surface.normal * view).sum(-1)
    normal = surface.normal * torch.where(facing < 0, -1.0, 1.0)[..., None]
    albedo = _texture(scenes, surface, distance * depth / focal, facing.abs(), batch)

    light = scenes.light[:, None, None]
    lambert = (normal * light).sum(-1).clamp(min=0)
    halfway = functional.normalize(light + view, dim=-1)
    highlight = scenes.gloss[batch, surface.slot] * (normal * halfway).sum(-1).clamp(min=0) ** 24
    if shadows:
        # From a little off the surface, so that it does not shade itself; the room has windows everywhere.
        blocked, _, _ = intersect(scenes, surface.point + 5e-3 * normal, light, with_room=False)
        lit_directly = (blocked >= FAR).float()
        lambert, highlight = lambert * lit_directly, highlight * lit_directly
    ambient = scenes.ambient[:, None, None]
    lit = albedo * (ambient + 1.3 * (1 - ambient) * lambert)[..., None] + highlight[..., None]
    rise = (-view[..., 2]).clamp(0, 1)[..., None]
    sky = scenes.sky[:, None, None, 0] * (1 - rise) + scenes.sky[:, None, None, 1] * rise
    return torch.where(hit[..., None], lit, sky).clamp(0, 1)


def _texture(scenes: Scenes, surface: Surface, footprint: Tensor, facing: Tensor, batch: Tensor) -> Tensor:
    """Albedo by projecting along the axis nearest to the normal; `footprint` is a pixel's edge across the ray, metres."""
    index = scenes.texture[batch, surface.slot, surface.side]
    scale = scenes.texture_scale[batch, surface.slot, surface.side]
    offset = scenes.texture_offset[batch, surface.slot, surface.side]
    u = torch.where(surface.axis == 0, surface.local[..., 1], surface.local[..., 0])
    v = torch.where(surface.axis == 2, surface.local[..., 1], surface.local[..., 2])
    uv = torch.stack((u, -v), -1) * scale[..., None] + offset
    # Between the footprint's short and its long edge: blur across the slope against noise along it.
    return sample_textures(scenes.textures, index, uv, footprint / facing.clamp(min=0.06).sqrt() * scale)
