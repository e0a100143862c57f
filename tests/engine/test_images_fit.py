"""Resize and crop against the published table, and the map to original pixels against an independent computation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast3r_engine.errors import InvalidImageError, OptionsError
from mast3r_engine.images import fit_to_network

# Worked values of the published loader: original, image_size, patch, square_crop -> resized, box (l, t, r, b).
PUBLISHED = [
    ((640, 480), 512, 16, False, (512, 384), (0, 0, 512, 384)),
    ((480, 640), 512, 16, False, (384, 512), (0, 0, 384, 512)),
    ((1000, 667), 512, 16, False, (512, 342), (0, 3, 512, 339)),
    ((300, 200), 512, 16, False, (512, 341), (0, 2, 512, 338)),
    ((1296, 968), 512, 16, False, (512, 382), (0, 7, 512, 375)),
    ((1242, 375), 512, 16, False, (512, 155), (0, 5, 512, 149)),
    ((1920, 1080), 512, 16, False, (512, 288), (0, 0, 512, 288)),
    ((1024, 1024), 512, 16, False, (512, 512), (0, 64, 512, 448)),
    ((1000, 999), 512, 16, False, (512, 511), (0, 7, 512, 503)),
    ((100, 100), 512, 16, False, (512, 512), (0, 64, 512, 448)),
    ((640, 480), 224, 16, True, (299, 224), (37, 0, 261, 224)),
    ((1080, 1920), 224, 16, True, (224, 398), (0, 87, 224, 311)),
    ((640, 480), 518, 14, False, (518, 388), (0, 5, 518, 383)),
    ((300, 200), 518, 14, False, (518, 345), (0, 4, 518, 340)),
]


@pytest.mark.parametrize(("original", "size", "patch", "square", "resized", "box"), PUBLISHED)
def test_the_published_table(
    original: tuple[int, int], size: int, patch: int, square: bool, resized: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    fit = fit_to_network("a", *original, size, patch, square)
    assert (fit.original_width, fit.original_height) == original
    assert (fit.resized_width, fit.resized_height) == resized
    assert (fit.left, fit.top, fit.left + fit.width, fit.top + fit.height) == box


@pytest.mark.parametrize(("size", "height"), [(512, 384), (448, 336), (256, 192), (400, 288), (480, 352), (32, 16), (16, 16)])
def test_a_square_becomes_4_to_3_floored_to_patches(size: int, height: int) -> None:
    fit = fit_to_network("a", 900, 900, size, 16)
    assert (fit.width, fit.height) == (size, height)
    assert (fit.left, fit.top) == (0, size // 2 - height // 2)


@given(
    width=st.integers(16, 5000),
    height=st.integers(16, 5000),
    patches=st.integers(1, 40),
    patch=st.sampled_from([14, 16]),
    square=st.booleans(),
)
def test_any_size_gives_whole_patches_inside_the_resized_image(
    width: int, height: int, patches: int, patch: int, square: bool
) -> None:
    size = patches * patch
    try:
        fit = fit_to_network("a", width, height, size, patch, square)
    except InvalidImageError:
        assert size * min(width, height) < (patch - 0.49) * max(width, height)
        return
    assert fit.width % patch == 0
    assert fit.height % patch == 0
    assert fit.width >= patch
    assert fit.height >= patch
    assert 0 <= fit.left <= fit.resized_width - fit.width
    assert 0 <= fit.top <= fit.resized_height - fit.height
    assert (fit.width, fit.height) == (size, size) if square else max(fit.width, fit.height) == size


@pytest.mark.parametrize(
    ("own", "network"),
    [((512, 384), (512, 384)), ((256, 256), (256, 256)), ((64, 48), (64, 48)), ((500, 333), (496, 320)), ((16, 16), (16, 16))],
)
def test_without_image_size_a_small_photograph_keeps_its_own_pixels(own: tuple[int, int], network: tuple[int, int]) -> None:
    fit = fit_to_network("a", *own, None, 16)
    assert (fit.resized_width, fit.resized_height) == own
    assert (fit.width, fit.height) == network


def test_without_image_size_a_large_photograph_comes_down_to_512() -> None:
    fit = fit_to_network("a", 4000, 3000, None, 16)
    assert (fit.width, fit.height) == (512, 384)
    assert fit_to_network("a", 4000, 3000, None, 14).width == 504


@pytest.mark.parametrize("size", [500, 8, 0, -16])
def test_an_image_size_that_is_no_multiple_of_the_patch_is_refused(size: int) -> None:
    with pytest.raises(OptionsError, match=f"image_size is {size}; it must be a multiple of the network's patch of 16"):
        fit_to_network("a", 640, 480, size, 16)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 400), (400, 15)])
def test_a_tiny_photograph_is_refused(width: int, height: int) -> None:
    with pytest.raises(InvalidImageError, match=rf"^dot.png: is {width}x{height} pixels; .*at least 16.*send the original"):
        fit_to_network("dot.png", width, height, 512, 16)


@pytest.mark.parametrize("square", [False, True])
def test_an_elongated_photograph_is_refused(square: bool) -> None:
    with pytest.raises(InvalidImageError, match=r"^strip.png: is 34000x1000 .*too elongated.*crop it to at most 32 to 1"):
        fit_to_network("strip.png", 34000, 1000, 512, 16, square)
    assert fit_to_network("strip.png", 32000, 1000, 512, 16).height == 16


@given(
    width=st.integers(32, 6000),
    height=st.integers(32, 6000),
    x=st.integers(0, 511),
    y=st.integers(0, 511),
    square=st.booleans(),
)
def test_the_map_to_original_pixels_is_exact(width: int, height: int, x: int, y: int, square: bool) -> None:
    try:
        fit = fit_to_network("a", width, height, 224 if square else 512, 16, square)
    except InvalidImageError:
        return
    # In rational numbers: a pixel's centre, as a share of the resized image, is the same share of the original.
    exact_x = Fraction(2 * (x + fit.left) + 1, 2 * fit.resized_width) * width - Fraction(1, 2)
    exact_y = Fraction(2 * (y + fit.top) + 1, 2 * fit.resized_height) * height - Fraction(1, 2)
    mapped = fit.to_original(np.array([x, y]))
    np.testing.assert_allclose(mapped, [float(exact_x), float(exact_y)], rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.to_network(mapped), [x, y], rtol=0, atol=1e-9)


def test_the_map_holds_for_real_resampling() -> None:
    """A ramp whose value is its own pixel coordinate, resized by Pillow in float, is read back through the map."""
    from PIL import Image

    fit = fit_to_network("a", 1296, 968, 512, 16)
    ramp = Image.fromarray(np.tile(np.arange(1296, dtype=np.float32), (968, 1)))
    small = np.asarray(ramp.resize((fit.resized_width, fit.resized_height), Image.Resampling.BILINEAR))
    inner = np.arange(100, 400)
    network = small[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
    mapped = fit.to_original(np.stack([inner, np.full_like(inner, 50)], axis=-1))
    # A sampled filter is centred to a few hundredths of a pixel; without the half-pixel terms the map is off by 0.77.
    np.testing.assert_allclose(network[50, inner], mapped[:, 0], rtol=0, atol=0.03)
    assert abs((network[50, inner] - mapped[:, 0]).mean()) < 1e-3


def test_intrinsics_travel_with_the_pixels() -> None:
    fit = fit_to_network("a", 1296, 968, 512, 16)
    K = np.array([[400.0, 0.0, 250.0], [0.0, 410.0, 190.0], [0.0, 0.0, 1.0]])
    point = np.array([0.3, -0.2, 1.7])
    at_network = (K @ point)[:2] / point[2]
    original = fit.intrinsics_to_original(K)
    np.testing.assert_allclose((original @ point)[:2] / point[2], fit.to_original(at_network), rtol=0, atol=1e-6)
    np.testing.assert_allclose(fit.intrinsics_to_network(original), K, rtol=0, atol=1e-9)
