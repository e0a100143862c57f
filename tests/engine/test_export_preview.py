"""preview.png: viewpoints that see the scene, points in the right place, nearest on top, and every odd scene drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mast3r_engine.export import render_preview
from mast3r_engine.export.splat import splat_cloud
from mast3r_engine.export.viewpoint import Viewpoint, choose_viewpoint
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.posed_room import BALL, orbit
from tests.engine.room_reconstruction import room_reconstruction

AHEAD = Viewpoint(np.eye(4), 50.0, (30.0, 20.0), 60, 40)
TO_VIEWER = np.array([0.0, 0, -1], np.float32)
BLACK = (0, 0, 0)


def _render(scene: Reconstruction, path: Path) -> np.ndarray:
    render_preview(scene, path / "preview.png")
    picture = Image.open(path / "preview.png")
    assert picture.size == (1600, 800)
    return np.asarray(picture.convert("RGB")).astype(int)


def _brightness(picture: np.ndarray) -> tuple[float, float]:
    """Share of pixels clearly brighter than the background, left and right, title and notes aside."""
    lit = (picture[60:740] > 60).any(axis=-1)
    return float(lit[:, :800].mean()), float(lit[:, 800:].mean())


def test_both_sides_are_filled(tmp_path: Path) -> None:
    left, right = _brightness(_render(room_reconstruction(5), tmp_path))
    assert left > 0.25
    assert right > 0.25


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    scene = room_reconstruction(3)
    render_preview(scene, tmp_path / "one.png")
    render_preview(scene, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("component", [[0], [-1], [0, 0, 1, 1], [0, 0, -1, -1], [0, 1]])
def test_odd_scenes_are_drawn(tmp_path: Path, component: list[int]) -> None:
    left, right = _brightness(_render(room_reconstruction(len(component), component=component), tmp_path))
    assert (left > 0.1) == (right > 0.1) == (0 in component)


def test_cameras_without_points_are_drawn(tmp_path: Path) -> None:
    scene = room_reconstruction(4)
    none = {name: getattr(scene, name)[:0] for name in ("points", "colors", "normals", "point_confidence", "point_component")}
    left, right = _brightness(_render(dataclasses.replace(scene, **none), tmp_path))
    assert left > 0.001
    assert right > 0.001


@pytest.mark.filterwarnings("error")
def test_names_with_markup_are_no_formula(tmp_path: Path) -> None:
    scene = room_reconstruction(2, component=[0, -1])
    _render(dataclasses.replace(scene, unregistered=[(1, "$\\frac{$ _^ 照片\n.jpg", "no $overlap$")]), tmp_path)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (-35, 22), (40, 48), (90, 89)])
def test_a_viewpoint_sees_points_and_cameras(azimuth: float, elevation: float) -> None:
    cameras = orbit(5)
    points = np.random.default_rng(0).normal(BALL, 0.8, (500, 3)).astype(np.float32)
    view = choose_viewpoint(points, cameras, azimuth, elevation, 800, 600)
    np.testing.assert_allclose(view.world2cam[:3, :3] @ view.world2cam[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.world2cam[:3, :3]) == pytest.approx(1)
    for positions, share in ((cameras[:, :3, 3], 1.0), (points, 0.9)):
        xy, depth = view.project(positions)
        seen = (depth > 0) & (xy >= 0).all(axis=1) & (xy < (800, 600)).all(axis=1)
        assert seen.mean() >= share


def test_a_viewpoint_stands_behind_and_above_the_photographs() -> None:
    cameras = orbit(5)
    view = choose_viewpoint(np.zeros((0, 3), np.float32), cameras, 0.0, 30.0, 800, 600)
    gaze, down = view.world2cam[2, :3], view.world2cam[1, :3]
    assert gaze @ cameras[2, :3, 2] > 0.8
    assert down @ np.array([0, 1, 0]) > 0.8
    assert view.eye[1] < cameras[:, 1, 3].min()  # y points down


def test_cameras_all_around_do_not_cancel() -> None:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    cameras = np.tile(np.eye(4), (8, 1, 1))
    cameras[:, 0, 0] = cameras[:, 2, 2] = np.cos(angles)
    cameras[:, 0, 2], cameras[:, 2, 0] = np.sin(angles), -np.sin(angles)
    view = choose_viewpoint(np.eye(3, dtype=np.float32), cameras, 0.0, 20.0, 80, 60)
    assert np.isfinite(view.world2cam).all()


def test_the_nearest_point_is_on_top() -> None:
    points = np.array([[0, 0, 2], [0, 0, 1], [0, 0, 3]], np.float32)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    picture = splat_cloud(points, colors, np.tile(TO_VIEWER, (3, 1)), AHEAD, BLACK)
    np.testing.assert_array_equal(picture[20, 30], [0, 255, 0])


def test_points_that_face_away_or_lie_behind_are_not_drawn() -> None:
    points = np.array([[0, 0, 2], [0, 0, -2]], np.float32)
    normals = np.stack((-TO_VIEWER, -TO_VIEWER))
    assert not splat_cloud(points, np.full((2, 3), 255, np.uint8), normals, AHEAD, BLACK).any()


def test_a_point_is_drawn_where_it_projects() -> None:
    point = np.array([[0.4, -0.2, 2]], np.float32)  # 50 * (0.2, -0.1) + (30, 20) = (40, 15)
    picture = splat_cloud(point, np.full((1, 3), 255, np.uint8), TO_VIEWER[None], AHEAD, BLACK)
    rows, columns = np.nonzero(picture.any(axis=-1))
    assert rows.mean() == pytest.approx(15, abs=1)
    assert columns.mean() == pytest.approx(40, abs=1)
