"""The forecast of memory is an upper bound of what the Python side is measured to take, and not a wild one."""

from __future__ import annotations

import tracemalloc

import pytest

from mast3r_engine.fusion import fuse
from mast3r_engine.memory_forecast import CANONICAL, FUSION, PHOTO, estimate_peak_memory
from mast3r_engine.options import FusionOptions
from tests.engine.posed_room import room_scene


def test_fusion_stays_below_its_share() -> None:
    alignment, images = room_scene(12, 192, 256, noise=0.01)
    tracemalloc.start()
    cloud = fuse(alignment, images, FusionOptions(max_points=200_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cloud) > 180_000
    share = FUSION * 12 * 192 * 256
    assert 0.3 * share < peak < share


def test_the_forecast_grows_with_photographs_pixels_and_pairs() -> None:
    base = estimate_peak_memory(10, (384, 512), 45)
    assert estimate_peak_memory(20, (384, 512), 45) > base
    assert estimate_peak_memory(10, (768, 1024), 45) > 2 * base
    assert estimate_peak_memory(10, (384, 512), 450) == base + 2 * 405 * 384 * 512
    many = estimate_peak_memory(500, (384, 512), 0)
    assert many == pytest.approx((PHOTO + CANONICAL + FUSION) * 500 * 384 * 512)
