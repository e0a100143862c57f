"""From scenes and cameras to images and exact depth, by casting one ray per pixel."""

from __future__ import annotations

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
) -> tuple[Tensor, Tensor]:  # colours (B, V, H, W, 3) in [0, 1], z-depth (B, V, H, W) metres, 0 where a ray hits nothing
    """Cast, shade and texture; no lens, sensor or exposure yet."""
    rows, columns = torch.meshgrid(torch.arange(height, device=K.device), torch.arange(width, device=K.device), indexing="ij")
    xy = torch.stack((columns, rows), -1).reshape(1, 1, -1, 2).float()
    rays_in_camera = pixel_rays(K, xy)
    rays = rays_in_camera @ cam2world[..., :3, :3].transpose(2, 3)
    depth, slot = intersect(scenes.slots, scenes.world2local(), scenes.active, cam2world[..., :3, 3], rays)
    colours = shade(scenes, cam2world[..., :3, 3], rays, depth, slot, K[:, :, None, 0, 0])
    hit = depth < FAR
    depth = torch.where(hit, depth, 0.0)
    return colours.reshape(*depth.shape[:2], height, width, 3), depth.reshape(*depth.shape[:2], height, width)


def shade(
    scenes: Scenes,
    origin: Tensor,  # (B, V, 3)
    rays: Tensor,  # (B, V, P, 3)
    depth: Tensor,  # (B, V, P)
    slot: Tensor,  # (B, V, P)
    focal: Tensor,  # (B, V, 1) pixels
) -> Tensor:  # (B, V, P, 3)
    """Lambert and a Blinn-Phong highlight under one distant light, on textured surfaces; the sky where nothing is hit."""
    batch = torch.arange(slot.shape[0], device=slot.device)[:, None, None]
    point = origin[:, :, None] + rays * depth[..., None]
    rotation, half = scenes.rotation[batch, slot], scenes.half[batch, slot]
    local = (rotation * (point - scenes.centre[batch, slot])[..., None]).sum(-2)  # metres along the solid's axes
    scaled = local / half
    axis = scaled.abs().argmax(-1)
    side = 2 * axis + (scaled.gather(-1, axis[..., None])[..., 0] > 0).long()

    one_axis = functional.one_hot(axis, 3) * scaled.sign()
    counts = scenes.slots
    is_ball = (slot > counts.boxes) & (slot <= counts.boxes + counts.ellipsoids)
    is_tube = (slot > counts.boxes + counts.ellipsoids) & (scaled[..., 2].abs() < 0.999)
    across = torch.cat((scaled[..., :2] / half[..., :2], torch.zeros_like(scaled[..., :1])), -1)
    normal_local = torch.where(is_ball[..., None], scaled / half, torch.where(is_tube[..., None], across, one_axis))
    normal = functional.normalize((rotation * normal_local[..., None, :]).sum(-1), dim=-1)
    distance = rays.norm(dim=-1)
    view = -rays / distance[..., None]
    facing = (normal * view).sum(-1)
    normal = normal * torch.where(facing < 0, -1.0, 1.0)[..., None]
    facing = facing.abs()

    texture = scenes.texture[batch, slot, side]
    scale, offset = scenes.texture_scale[batch, slot, side], scenes.texture_offset[batch, slot, side]
    u = torch.where(axis == 0, local[..., 1], local[..., 0])
    v = torch.where(axis == 2, local[..., 1], local[..., 2])
    # Between the footprint's short and its long edge: blur across the slope against noise along it.
    footprint = distance / focal / facing.clamp(min=0.06).sqrt()
    uv = torch.stack((u, -v), -1) * scale[..., None] + offset
    albedo = sample_textures(scenes.textures, texture, uv, footprint * scale)

    light = scenes.light[:, None, None]
    lambert = (normal * light).sum(-1).clamp(min=0)
    ambient = scenes.ambient[:, None, None]
    halfway = functional.normalize(light + view, dim=-1)
    highlight = scenes.gloss[batch, slot] * (normal * halfway).sum(-1).clamp(min=0) ** 24
    lit = albedo * (ambient + 1.3 * (1 - ambient) * lambert)[..., None] + highlight[..., None]
    rise = (-view[..., 2]).clamp(0, 1)[..., None]
    sky = scenes.sky[:, None, None, 0] * (1 - rise) + scenes.sky[:, None, None, 1] * rise
    return torch.where((depth < FAR)[..., None], lit, sky).clamp(0, 1)
