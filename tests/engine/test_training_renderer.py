"""The synthetic renderer: exact depth, exact matches with occlusion, filtered textures."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mast3r_engine.errors import TrainingError
from mast3r_engine.training.batch import points_in_each, valid_depth
from mast3r_engine.training.losses.matching import gather_pixels
from mast3r_engine.training.synthetic.layout import draw_scenes
from mast3r_engine.training.synthetic.matches import draw_matches
from mast3r_engine.training.synthetic.meshes import icosahedron
from mast3r_engine.training.synthetic.photometry import compress, photograph
from mast3r_engine.training.synthetic.photos import load_photos, procedural_photos
from mast3r_engine.training.synthetic.render import pixel_rays
from mast3r_engine.training.synthetic.scene import Scenes, SlotCounts
from mast3r_engine.training.synthetic.shapes import FAR, intersect
from mast3r_engine.training.synthetic.source import SyntheticOptions, SyntheticSource
from mast3r_engine.training.synthetic.textures import build_mips, sample_textures

SMALL = SyntheticOptions(height=24, width=32, matches=64, texture_size=32, textures=24, photometry=0.3)


def photos() -> Tensor:
    return procedural_photos(12, torch.Generator().manual_seed(0), size=64)


def some_scenes(count: int, slots: SlotCounts) -> Scenes:
    generator = torch.Generator().manual_seed(3)
    scenes, _ = draw_scenes(count, slots, build_mips(torch.rand(4, 3, 8, 8, generator=generator)), generator)
    return scenes


def inside(scenes: Scenes, k: int, points: Tensor) -> Tensor:
    """Whether world points (B, M, 3) lie in solid k, from the shapes' inequalities alone."""
    unit = torch.einsum("bji,bmj->bmi", scenes.rotation[:, k], points - scenes.centre[:, k, None]) / scenes.half[:, k, None]
    counts = scenes.slots
    if k <= counts.boxes:
        return (unit.abs() < 1).all(-1)
    if k <= counts.boxes + counts.ellipsoids:
        return unit.square().sum(-1) < 1
    return (unit[..., :2].square().sum(-1) < 1) & (unit[..., 2].abs() < 1)


@pytest.mark.parametrize("k", [1, 10, 13])  # a box, a ball, a cylinder
def test_rays_stop_where_marching_enters_the_solid(k: int) -> None:
    scenes = some_scenes(4, SlotCounts(meshes=0))
    only = torch.zeros_like(scenes.active)
    only[:, k] = True
    scenes = dataclasses.replace(scenes, active=only)
    generator = torch.Generator().manual_seed(4)
    origin = scenes.centre[:, k] + torch.nn.functional.normalize(torch.randn(4, 3, generator=generator), dim=1) * 3
    aim = scenes.centre[:, None, k] + torch.randn(4, 200, 3, generator=generator) * scenes.half[:, None, k]
    rays = aim - origin[:, None]
    t, slot, _ = intersect(scenes, origin[:, None, None], rays[:, None])
    t = t[:, 0]
    steps = torch.linspace(0.0, 2.0, 2001)
    marched = torch.full_like(t, FAR)
    for step in steps.flip(0):
        marched = torch.where(inside(scenes, k, origin[:, None] + rays * step), step, marched)
    hit = t < FAR
    assert 0.3 < float(hit.float().mean()) < 1.0
    assert bool((slot[:, 0][hit] == k).all())
    both = hit & (marched < FAR)
    assert float((t - marched)[both].abs().max()) < 1.1e-3
    # Where only one of them sees the solid, the ray grazes it: inside for less than a step.
    grazing = hit & (marched >= FAR)
    assert float(grazing.float().mean()) < 0.02
    assert not bool((~hit & (marched < FAR)).any())


def test_mesh_hits_lie_on_the_nearest_triangle() -> None:
    scenes = some_scenes(3, SlotCounts(boxes=1, ellipsoids=0, cylinders=0, meshes=2))
    stone = scenes.slots.total - 1
    only = torch.zeros_like(scenes.active)
    only[:, stone] = True
    scenes = dataclasses.replace(scenes, active=only)
    origin = scenes.centre[:, stone] + torch.tensor([0.0, -3.0, 0.5])
    generator = torch.Generator().manual_seed(1)
    aim = scenes.centre[:, None, stone] + torch.randn(3, 60, 3, generator=generator) * scenes.half[:, None, stone] * 0.7
    rays = aim - origin[:, None]
    t, _, _ = intersect(scenes, origin[:, None, None], rays[:, None])
    for b in range(3):
        world = (
            scenes.triangles[b, 1].double() * scenes.half[b, stone] @ scenes.rotation[b, stone].double().T
            + scenes.centre[b, stone]
        )
        for p in range(60):
            found = []
            for triangle in world:  # solve origin + t ray = corner + u a + v b
                a, c = triangle[1] - triangle[0], triangle[2] - triangle[0]
                matrix = torch.stack((rays[b, p].double(), -a, -c), 1)
                if abs(float(torch.linalg.det(matrix))) < 1e-12:
                    continue
                answer = torch.linalg.solve(matrix, (triangle[0] - origin[b]).double())
                if answer[1] >= 0 and answer[2] >= 0 and answer[1] + answer[2] <= 1 and answer[0] > 0.02:
                    found.append(float(answer[0]))
            if abs(float(t[b, 0, p]) - min(found, default=FAR)) > 1e-4 * min(found, default=FAR):
                pytest.fail(f"ray {p} of scene {b}: {float(t[b, 0, p])} and {min(found, default=FAR)}")


def test_icosahedron_is_one() -> None:
    corners, faces = icosahedron(torch.device("cpu"))
    assert faces.shape == (20, 3)
    edges = (corners[faces] - corners[faces.roll(1, 1)]).norm(dim=-1)
    torch.testing.assert_close(edges, edges.mean().expand_as(edges))


def test_depth_and_matches_agree_between_the_views() -> None:
    source = SyntheticSource(photos(), SMALL)
    batch = source.draw(16, 5, 0)
    in_first, _ = points_in_each(batch)
    first = gather_pixels(in_first[:, 0], batch.xy_first)
    second = gather_pixels(in_first[:, 1], batch.xy_second)
    distance = (first - second).norm(dim=-1) / first.norm(dim=-1)
    assert float(batch.matched.float().mean()) > 0.5
    # The second view's pixel is rounded, so its point lies up to half a pixel beside; at edges it may lie on another surface.
    pixel = 1 / batch.K[:, 0, 0, 0, None]
    close = distance[batch.matched] < 3 * pixel.expand_as(distance)[batch.matched]
    assert float(close.float().mean()) > 0.9
    unmatched = distance[~batch.matched]
    assert float((unmatched < 3 * float(pixel.max())).float().mean()) < 0.2


def test_an_occluder_takes_matches_away() -> None:
    """Two cameras see a wall; a slab before the second one hides it."""
    scenes = some_scenes(1, SlotCounts(boxes=2, ellipsoids=0, cylinders=0, meshes=0))
    scenes = dataclasses.replace(
        scenes,
        centre=torch.tensor([[[0.0, 0, 0], [0, 0, 4], [0.5, 0, 1]]]),
        half=torch.tensor([[[9.0, 9, 9], [4, 4, 0.5], [0.15, 4, 0.1]]]),
        rotation=torch.eye(3).expand(1, 3, 3, 3),
        active=torch.ones(1, 3, dtype=torch.bool),
        open_air=torch.zeros(1, dtype=torch.bool),
    )
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 0, 0, 3] = -0.5
    poses[0, 1, 0, 3] = 0.5
    K = torch.tensor([[40.0, 0, 15.5], [0, 40, 11.5], [0, 0, 1]]).expand(1, 2, 3, 3)
    grid = torch.stack(torch.meshgrid(torch.arange(32), torch.arange(24), indexing="xy"), -1).reshape(1, 1, -1, 2)
    rays = pixel_rays(K, grid.float())
    depth = intersect(scenes, poses[..., None, :3, 3], rays)[0].reshape(1, 2, 24, 32)
    assert float(depth[0, 0, 12, 15]) == pytest.approx(3.5)  # the wall's near face
    assert float(depth[0, 1, 12, 15]) == pytest.approx(0.9)  # the slab
    xy, xy2, matched = draw_matches(scenes, poses, K, depth, 300, torch.Generator().manual_seed(0))
    on_wall = gather_pixels(depth[:, 0, ..., None], xy.float())[..., 0] > 3
    column = (xy2 - (xy - torch.tensor([40 * 1.0 / 3.5, 0])))[on_wall & matched]
    assert float(column.abs().max()) < 1e-3  # on the wall the shift is focal * baseline / depth
    # What the second camera sees of the wall lies outside the slab's shadow: |X - 0.5| > 0.15 * 3.5 / 0.9 (its near face).
    world_x = (xy[..., 0] - 15.5) / 40 * 3.5 - 0.5
    assert bool(((world_x - 0.5).abs()[on_wall & matched] > 0.15 * 3.5 / 0.9 - 1e-3).all())
    assert bool((on_wall & matched).any())


def test_raw_colours_beat_chance_on_the_matches() -> None:
    batch = SyntheticSource(photos(), dataclasses.replace(SMALL, photometry=0.0)).draw(12, 1, 0)
    colours = batch.images.permute(0, 1, 3, 4, 2)
    first, second = gather_pixels(colours[:, 0], batch.xy_first), gather_pixels(colours[:, 1], batch.xy_second)
    nearest = torch.cdist(first, second).argmin(2)
    right = (nearest == torch.arange(nearest.shape[1]))[batch.matched].float().mean()
    assert float(right) > 5 / nearest.shape[1]


def test_the_same_numbers_give_the_same_batch() -> None:
    a, b = SyntheticSource(photos(), SMALL), SyntheticSource(photos(), SMALL)
    a.draw(2, 9, 0)
    first, again, other = a.draw(2, 9, 17), b.draw(2, 9, 17), b.draw(2, 10, 17)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.xy_second, again.xy_second)
    assert not torch.equal(first.images, other.images)


def test_open_air_has_sky_without_depth() -> None:
    batch = SyntheticSource(photos(), SMALL).draw(48, 2, 0)
    sky = batch.depth < 0
    assert bool(sky.any())
    assert bool((valid_depth(batch.depth) | sky).all())


def test_mips_average_and_footprints_choose_them() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 16, 16, generator=generator)
    textures = build_mips(image)
    assert textures.texels.shape == (2, 256 + 64 + 16 + 4 + 1, 3)
    index, uv = torch.tensor([0, 1]), torch.tensor([[0.3, 0.7], [1.4, 5.1]])
    everything = sample_textures(textures, index, uv, torch.full((2,), 3.0))
    torch.testing.assert_close(everything, image.mean((2, 3)))
    # uv = 1 + (c + 0.5) / 16 is the centre of texel c of the finest level.
    texel = sample_textures(textures, index, 1 + (torch.tensor([[3.0, 9.0], [15.0, 0.0]]) + 0.5) / 16, torch.full((2,), 1 / 16))
    torch.testing.assert_close(texel, torch.stack((image[0, :, 9, 3], image[1, :, 0, 15])))


def test_compression_keeps_what_its_step_cannot_see() -> None:
    image = torch.rand(2, 3, 20, 28, generator=torch.Generator().manual_seed(0))
    fine, coarse = (compress(image, torch.full((2, 1, 1, 1), step)) for step in (0.0, 2.0))
    assert fine.shape == image.shape
    assert float((fine - image).abs().max()) < 1e-3
    assert 0.02 < float((coarse - image).abs().mean()) < 0.4
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert float(compress(flat, torch.full((1, 1, 1, 1), 1.0)).std()) < 1e-6


def test_photographs_differ_between_the_views_but_not_without_strength() -> None:
    image = torch.full((2, 3, 16, 16), 0.4)
    changed = photograph(image, torch.Generator().manual_seed(0))
    assert float((changed[0] - changed[1]).abs().mean()) > 0.02
    assert float((photograph(image, torch.Generator().manual_seed(0), 0.0) - image).abs().max()) < 1e-3


def write_photo(path: Path, value: int) -> None:
    Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(path)


def test_photographs_are_split_by_photograph_and_broken_ones_counted(tmp_path: Path) -> None:
    for number in range(30):
        for crop in range(3):
            write_photo(tmp_path / f"photo{number}__{crop:02d}.png", 5 * number)
    (tmp_path / "photo0__99.png").write_bytes(b"not a photograph")
    train, broken_train = load_photos(tmp_path, "train", 8)
    held_out, broken_held_out = load_photos(tmp_path, "validation", 8)
    values = [set(split[:, 0, 0, 0].tolist()) for split in (train, held_out)]
    assert len(train) + len(held_out) == 90
    assert not values[0] & values[1]
    assert broken_train + broken_held_out == 1
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        for file in sorted(tmp_path.glob("*.png")):
            tar.add(file, f"textures/{file.name}")
    assert torch.equal(load_photos(archive, "train", 8)[0], train)


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no readable train photograph"):
        load_photos(tmp_path, "train")
    file = tmp_path / "textures.tar"
    file.write_bytes(io.BytesIO(b"x" * 2000).getvalue())
    with pytest.raises(TrainingError, match=r"textures\.tar cannot be read"):
        load_photos(file, "train")
