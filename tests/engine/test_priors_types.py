"""What is said beforehand is checked before anything runs, and the message names the thing and the remedy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mast3r_engine import (
    CameraPrior,
    DepthPrior,
    KnownDistance,
    KnownScale,
    Lens,
    Mask,
    PosePrior,
    PositionPrior,
    Priors,
    PriorsError,
    UpDirection,
)
from mast3r_engine.geodesy import GpsFix, to_local_metres
from mast3r_engine.priors import check_sizes
from mast3r_engine.priors_document import priors_from_document

LENS = Lens("PINHOLE", (500, 500, 319.5, 239.5), 640, 480)
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lens("FULL_OPENCV", (500,), 640, 480), "known: SIMPLE_PINHOLE, PINHOLE"),
        (lambda: Lens("PINHOLE", (500, 500, 320), 640, 480), "takes 4 finite numbers: fx, fy, cx, cy"),
        (lambda: Lens("SIMPLE_PINHOLE", (5, 320, 240), 640, 480), "between 64 and 32000"),
        (lambda: Lens("PINHOLE", (500, 1500, 320, 240), 640, 480), "nearly square"),
        (lambda: Lens("SIMPLE_PINHOLE", (500, 1320, 240), 640, 480), "outside the photograph of 640x480"),
        (lambda: Lens("SIMPLE_PINHOLE", (float("nan"), 320, 240), 640, 480), "finite numbers"),
        (lambda: CameraPrior(LENS, "loose"), "fixed, prior or refined"),  # type: ignore[arg-type]
        (lambda: CameraPrior(LENS, focal_sigma=0), "focal_sigma is 0; it must be above 0"),
        (lambda: PosePrior(MIRROR), "no rotation"),
        (lambda: PosePrior(np.diag([2.0, 2, 2, 1])), r"determinant 8"),
        (lambda: PosePrior(np.eye(3)), r"shape \(4, 4\)"),
        (lambda: PosePrior(np.eye(4), -np.eye(6)), "positive definite"),
        (lambda: PositionPrior(np.zeros(3), 0.0), "position sigma is 0"),
        (lambda: KnownDistance("a", "a", 1.0), "two photographs, or two pixels of one"),
        (lambda: KnownDistance("a", "b", 1.0, first_pixel=(1, 2)), "one pixel only"),
        (lambda: KnownScale(-1.0), "scale factor is -1"),
        (UpDirection, "either gravity of at least one photograph or dominant_plane"),
        (lambda: UpDirection({"a": np.zeros(3)}), "a: gravity"),
        (lambda: Mask(np.zeros((4, 4), np.uint8)), "of bool, True = use"),  # type: ignore[arg-type]
        (lambda: Mask(np.zeros((4, 4), bool)), "uses no pixel at all"),
        (lambda: DepthPrior(np.full((4, 4), -1.0, np.float32)), "positive metres, or NaN"),
        (lambda: DepthPrior(np.full((4, 4), np.nan, np.float32)), "known nowhere"),
        (lambda: Priors(shared_cameras=[["a", "b"], ["b"]]), "b is in 2 places of shared_cameras"),
        (lambda: Priors(scale=KnownScale(2.0), distances=[KnownDistance("a", "b", 1.0)]), "scale cannot be given beside"),
    ],
)
def test_what_cannot_be_is_refused_by_name(build: Any, message: str) -> None:
    with pytest.raises(PriorsError, match=message) as caught:
        build()
    assert caught.value.code == "invalid_priors"


def test_photographs_that_are_not_there_or_there_twice() -> None:
    priors = Priors(cameras={"b.jpg": CameraPrior(LENS)})
    priors.check_names(["a.jpg", "b.jpg"])
    with pytest.raises(PriorsError, match=r"b\.jpg, which is not among the photographs: a\.jpg"):
        priors.check_names(["a.jpg"])
    with pytest.raises(PriorsError, match=r"2 photographs have that name"):
        priors.check_names(["b.jpg", "a.jpg", "b.jpg"])
    priors.check_names(["a.jpg", "a.jpg", "b.jpg"])  # nothing is said about the two


@pytest.mark.parametrize("what", ["camera", "mask", "depth"])
def test_what_belongs_to_another_size_is_refused(what: str) -> None:
    known: dict[str, Any] = {"camera": None, "mask": None, "depth": None}
    known[what] = {
        "camera": CameraPrior(LENS),
        "mask": Mask(np.ones((480, 640), bool)),
        "depth": DepthPrior(np.ones((480, 640), np.float32)),
    }[what]
    check_sizes("a", (640, 480), **known)
    with pytest.raises(PriorsError, match=f"a: the {what} is 640x480 pixels and the photograph 480x640"):
        check_sizes("a", (480, 640), **known)


def test_one_known_photograph_tells_the_camera_of_its_group() -> None:
    priors = Priors(cameras={"a": CameraPrior(LENS)}, shared_cameras=[["a", "b"]])
    assert priors.camera_of("b") == priors.camera_of("a") == CameraPrior(LENS)
    assert priors.camera_of("c") is None
    other = CameraPrior(Lens("PINHOLE", (600, 600, 319.5, 239.5), 640, 480))
    with pytest.raises(PriorsError, match="share one camera and have 2 different ones"):
        Priors(cameras={"a": CameraPrior(LENS), "b": other}, shared_cameras=[["a", "b"]])


def test_gps_becomes_metres_east_north_up() -> None:
    start = GpsFix(48.0, 11.0, 500.0)
    fixes = {
        "here": start,
        "north": GpsFix(48.001, 11.0, 500.0),
        "east": GpsFix(48.0, 11.001, 500.0),
        "up": GpsFix(48.0, 11.0, 510.0),
    }
    metres, origin = to_local_metres(fixes)
    assert origin == start
    np.testing.assert_allclose(metres["here"], 0, atol=1e-9)
    # One degree at 48 degrees of latitude: 111.2 km of meridian and 74.6 km of parallel on WGS 84 (500 m up: 0.008 % more).
    np.testing.assert_allclose(metres["north"], [0, 111.206, -0.001], atol=0.02)
    np.testing.assert_allclose(metres["east"], [74.634, 0, -0.0005], atol=0.02)
    np.testing.assert_allclose(metres["up"], [0, 0, 10], atol=1e-6)
    with pytest.raises(PriorsError, match="latitude is 91"):
        GpsFix(91, 0)


DOCUMENT: dict[str, Any] = {
    "schema_version": 1,
    "photos": {
        "a.jpg": {
            "camera": {"model": "PINHOLE", "params": [500, 500, 319.5, 239.5], "width": 640, "height": 480, "mode": "fixed"},
            "pose": {"cam2world": np.eye(4).tolist(), "covariance": np.eye(6).tolist()},
            "gravity": [0, 1, 0],
        },
        "b.jpg": {"gps": {"latitude": 48.0, "longitude": 11.0, "altitude": 500.0, "sigma": [2, 2, 5]}},
    },
    "shared_cameras": [["a.jpg", "b.jpg"]],
    "exif_focal_sigma": 0.03,
    "distances": [{"first": "a.jpg", "second": "b.jpg", "metres": 1.5, "first_pixel": [1, 2], "second_pixel": [3, 4]}],
    "up": {"axis": "y"},
}


def test_the_document_becomes_priors() -> None:
    priors = priors_from_document(json.loads(json.dumps(DOCUMENT)))
    assert priors.cameras["a.jpg"] == CameraPrior(LENS, "fixed")
    np.testing.assert_array_equal(priors.poses["a.jpg"].cam2world, np.eye(4))
    np.testing.assert_array_equal(priors.poses["a.jpg"].covariance, np.eye(6))
    assert priors.positions["b.jpg"].sigma == (2, 2, 5)
    assert priors.gps_origin == GpsFix(48.0, 11.0, 500.0)
    assert priors.distances == (KnownDistance("a.jpg", "b.jpg", 1.5, first_pixel=(1.0, 2.0), second_pixel=(3.0, 4.0)),)
    assert priors.up is not None
    assert (priors.up.axis, priors.up.gravity["a.jpg"].tolist()) == ("y", [0, 1, 0])
    assert priors.shared_cameras == (("a.jpg", "b.jpg"),)
    assert priors.names == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photo": {}}, "unknown field 'photo'"),
        ({"schema_version": 2}, "schema_version is 2"),
        ({"photos": {"a": {"cam": {}}}}, "a has the unknown field 'cam'"),
        ({"photos": {"a": {"camera": {"model": "PINHOLE"}}}}, "a: camera has no params"),
        (
            {"photos": {"a": {"camera": {"model": "PINHOLE", "params": "x", "width": 9, "height": 9}}}},
            "a: camera is .* wrong kind",
        ),
        ({"photos": {"a": {"pose": {"cam2world": MIRROR.tolist()}}}}, "a: pose cam2world .* no rotation"),
        ({"photos": {"a": {"position": {"metres": [0, 0, 0]}}}}, "a: position has no sigma"),
        ({"photos": {"a": {"gps": {"latitude": "48", "longitude": 11, "sigma": 1}}}}, "a: gps is"),
        ({"photos": {"a": {"position": {"metres": [0, 0, 0], "sigma": 1}, "gps": {}}}}, "a has a position and a gps"),
        ({"distances": [{"first": "a", "second": "b"}]}, r"distances\[0\]: distance has no metres"),
        ({"shared_cameras": ["a", "b"]}, "list of lists"),
        ({"photos": [1]}, "photos is .* must be an object"),
    ],
)
def test_a_wrong_document_is_refused_by_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PriorsError, match=message):
        priors_from_document({"schema_version": 1, **change})
