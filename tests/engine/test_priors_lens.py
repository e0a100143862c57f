"""Lenses: there and back for every model, against OpenCV's published formulas, and photographs undistorted."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from mast3r_engine import CameraPrior, Lens, Mask, Priors
from mast3r_engine.images import load_view
from mast3r_engine.resolved_priors import lens_of, pinhole_at_network
from mast3r_engine.undistortion import in_original, in_undistorted, undistort

LENSES = [
    Lens("SIMPLE_PINHOLE", (500, 310, 250), 640, 480),
    Lens("PINHOLE", (500, 520, 310, 250), 640, 480),
    Lens("SIMPLE_RADIAL", (500, 310, 250, -0.12), 640, 480),
    Lens("RADIAL", (500, 310, 250, -0.2, 0.05), 640, 480),
    Lens("OPENCV", (500, 505, 310, 250, -0.28, 0.07, 1e-3, -5e-4), 640, 480),
    Lens("OPENCV_FISHEYE", (300, 301, 310, 250, 0.02, -0.01, 0.002, -0.0005), 640, 480),
]


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_pixels_come_back_through_their_rays(lens: Lens) -> None:
    xy = np.stack(np.meshgrid(np.linspace(0, 639, 17), np.linspace(0, 479, 13)), axis=-1)
    flat = lens.unproject(xy)
    np.testing.assert_allclose(lens.project(np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], axis=-1)), xy, atol=1e-8)


def test_brown_distortion_by_its_formula() -> None:
    fx, fy, cx, cy, k1, k2, p1, p2 = LENSES[4].params
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2
    u = fx * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) + cx
    v = fy * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) + cy
    np.testing.assert_allclose(LENSES[4].project(np.array([x, y, 1.0])), [u, v], atol=1e-12)


def test_fisheye_by_its_formula() -> None:
    fx, fy, cx, cy, *k = LENSES[5].params
    x, y = 0.9, -0.5
    theta = np.arctan(np.hypot(x, y))
    bent = theta * (1 + sum(c * theta ** (2 * n + 2) for n, c in enumerate(k)))
    expected = [fx * bent * x / np.hypot(x, y) + cx, fy * bent * y / np.hypot(x, y) + cy]
    np.testing.assert_allclose(LENSES[5].project(np.array([x, y, 1.0])), expected, atol=1e-12)


def test_rays_beyond_the_fold_are_not_seen() -> None:
    lens = Lens("SIMPLE_RADIAL", (500, 319.5, 239.5, -0.4), 640, 480)  # r - 0.4 r^3 turns back at r = 0.91
    folded = np.array([1.4, 0.0, 1.0])
    assert 0 < lens.project(folded)[0] < 639  # by the polynomial alone it would be inside
    assert not lens.sees(folded)
    assert lens.sees(np.array([0.5, 0.0, 1.0]))
    assert np.isnan(Lens("SIMPLE_RADIAL", (200, 319.5, 239.5, -0.4), 640, 480).unproject(np.array([639.0, 239.5]))).all()


@pytest.mark.parametrize("lens", LENSES[4:], ids=lambda lens: lens.model)
def test_a_straight_edge_is_straight_again(lens: Lens) -> None:
    """A half plane x < 0.4 z seen through the lens, undistorted: its edge is a column."""
    xy = np.stack(np.meshgrid(np.arange(640.0), np.arange(480.0)), axis=-1)
    bright = np.nan_to_num(lens.unproject(xy)[..., 0], nan=9.0) < 0.4
    straight = undistort(np.repeat((bright * np.uint8(200))[..., None], 3, axis=-1), lens)[..., 0]
    _, seen = in_original(xy, lens)
    K = lens.undistorted_K
    rows = np.arange(100, 380)
    edges = (straight[rows, 300:600] > 100).sum(1) + 300 - 0.5
    assert seen[rows].all() or lens.model == "OPENCV"
    assert np.abs(edges - (0.4 * K[0, 0] + K[0, 2])).max() < 1.0
    distorted = (bright[rows, 300:600]).sum(1) + 300 - 0.5
    assert np.ptp(distorted) > 4  # in the original it is a curve


@pytest.mark.parametrize("lens", LENSES[2:], ids=lambda lens: lens.model)
def test_undistorted_pixels_lie_where_they_came_from(lens: Lens) -> None:
    xy = np.array([[100.0, 80.0], [310.0, 250.0], [500.0, 400.0]])
    there, seen = in_original(xy, lens)
    assert seen.all()
    np.testing.assert_allclose(in_undistorted(there, lens), xy, atol=1e-7)


def test_a_view_of_a_known_lens_is_a_pinholes_and_remembers_the_lens() -> None:
    lens = LENSES[4]
    photo = np.tile(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 1, 3))
    mask = np.ones((480, 640), bool)
    mask[:, :200] = False
    priors = Priors(cameras={"a": CameraPrior(lens)}, masks={"a": Mask(mask)})
    view = load_view(Image.fromarray(photo), "a", 160, 16, priors=priors)
    focal, centre = pinhole_at_network(lens, view.geometry)
    assert view.usable is not None
    # A network pixel shows what the lens saw in the direction of the pinhole's ray: brightness and mask tell which column.
    for x, y in ((40, 30), (90, 60), (120, 100)):
        ray = np.array([(x - centre[0]) / focal, (y - centre[1]) / focal, 1.0])
        column = lens.project(ray)[0]
        assert abs(float(view.pixels[y, x, 0]) - column * 255 / 639) < 1.5
        assert view.usable[y, x] == (round(column) >= 200)
    K = np.array([[focal * 1.02, 0, centre[0]], [0, focal * 1.02, centre[1]], [0, 0, 1]])
    refined = lens_of(view, K)
    assert refined is not None
    np.testing.assert_allclose(refined.params[:2], [510, 515.1], rtol=1e-9)
    assert refined.params[2:] == pytest.approx(lens.params[2:], abs=1e-9)


def test_a_pinhole_is_not_resampled() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    lens = Lens("PINHOLE", (110, 110, 60, 50), 128, 96)
    plain, known = (load_view(photo, "a", 128, 16, priors=p) for p in (Priors(), Priors(cameras={"a": CameraPrior(lens)})))
    np.testing.assert_array_equal(plain.pixels, known.pixels)
    assert known.usable is None


def test_exif_focal_length_by_the_sensors_pitch() -> None:
    """50 mm on a sensor of 6000 pixels over 36 mm, 4233.3 pixels per inch, in a photograph brought down to a fifth."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.FocalLength] = 50.0
    details[ExifTags.Base.FocalPlaneXResolution] = 6000 / 36 * 25.4
    details[ExifTags.Base.FocalPlaneResolutionUnit] = 2
    details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight] = 6000, 4000
    details[ExifTags.Base.FocalLengthIn35mmFilm] = 51  # rounded: the pitch is the better source
    written = io.BytesIO()
    Image.new("RGB", (1200, 800)).save(written, "JPEG", exif=exif)
    view = load_view(written.getvalue(), "a", 160, 16)
    assert (view.geometry.original_width, view.geometry.original_height) == (800, 1200)
    assert view.exif_focal == pytest.approx(50 / 36 * 1200, rel=1e-4)
