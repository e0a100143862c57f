"""How a photograph was held, by its header: what its upright size is, for priors and for the cameras of queries."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mast3r_engine.images import load_view
from services.adapters.settings import Settings
from services.api.localisation_photos import check_photo
from services.api.photo_orientation import read_orientation
from services.api.photos import inspect_photo
from services.api.problems import ProblemError
from services.contract.jobs import ImageInput
from services.contract.localisation import CameraIntrinsics
from tests.services.bad_files import photo

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "HEIC")


def held(kind: str, orientation: int) -> bytes:
    """A photograph of 64 x 48 stored pixels, held somehow."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photo(0, kind, exif=exif.tobytes() if kind == "HEIC" else exif)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_size_is_the_one_that_the_engine_sees(kind: str, orientation: int, tmp_path: Path) -> None:
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(held(kind, orientation))
    header = inspect_photo(io.BytesIO(file.read_bytes()), 10**7)
    image = ImageInput(
        name="a", bytes=1, sha256="", media_type="", width=header.width, height=header.height, exif_orientation=header.orientation
    )
    geometry = load_view(file, "a", 64, 16).geometry
    assert image.upright_sizes == [(geometry.original_width, geometry.original_height)]


def test_an_orientation_that_was_not_noted_may_be_either() -> None:
    image = ImageInput(name="a", bytes=1, sha256="", media_type="", width=64, height=48)
    assert image.upright_sizes == [(64, 48), (48, 64)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_s_camera_is_that_of_the_upright_photograph(kind: str) -> None:
    upright = CameraIntrinsics(fx=60, fy=60, cx=23.5, cy=31.5, width=48, height=64)
    lying = CameraIntrinsics(fx=60, fy=60, cx=31.5, cy=23.5, width=64, height=48)
    check_photo(held(kind, 6), "/image", Settings(), upright, "/camera")
    with pytest.raises(ProblemError, match="48 x 64"):
        check_photo(held(kind, 6), "/image", Settings(), lying, "/camera")


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_there_are_not_count_as_none(value: int) -> None:
    assert read_orientation(io.BytesIO(held("JPEG", value)), "JPEG") == 1


def test_hostile_exif_counts_as_none() -> None:
    data = held("WEBP", 6)
    at = data.index(b"EXIF")
    hostile = [
        (data[: at + 8] + bytes(len(data) - at - 8), 1),  # no EXIF in it
        (data[: at + 4] + b"\xff\xff\xff\xff" + data[at + 8 :], 6),  # a length beyond the file
        (data[:at] + b"XXXX\xff\xff\xff\xff" + data[at + 8 :], 1),  # a chunk that leads nowhere
        (data[:12], 1),
    ]
    assert [read_orientation(io.BytesIO(each), "WEBP") for each, _ in hostile] == [wanted for _, wanted in hostile]
    assert read_orientation(io.BytesIO(data), "WEBP") == 6
