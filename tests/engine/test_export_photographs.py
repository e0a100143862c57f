"""images.zip: upright photographs under the names that the other formats use."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mast3r_engine.errors import ExportError
from mast3r_engine.export import write_artifacts
from mast3r_engine.export.selection import exported_names
from mast3r_engine.reconstruction import Reconstruction
from tests.engine.exported_oracle import oracle_scene
from tests.engine.room_reconstruction import room_reconstruction

RAMP = np.linspace(0, 255, 400).astype(np.uint8)[None, :, None].repeat(300, axis=0).repeat(3, axis=2)  # dark left


def with_files(*paths: Path) -> Reconstruction:
    scene = room_reconstruction(len(paths))
    return dataclasses.replace(scene, names=[path.name for path in paths], sources=list(paths))


def test_upright_files_go_in_byte_by_byte(tmp_path: Path) -> None:
    scene = oracle_scene()
    write_artifacts(scene, tmp_path, ["images.zip"])
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        assert archive.namelist() == [f"images/photo_{k}_für.png" for k in range(5)]
        for name, source in zip(archive.namelist(), scene.sources, strict=True):
            assert source is not None
            assert archive.read(name) == source.read_bytes()


def test_turned_photographs_and_other_kinds_are_written_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(RAMP).save(tmp_path / "other.webp", lossless=True)
    write_artifacts(with_files(tmp_path / "turned.jpg", tmp_path / "other.webp"), tmp_path, ["images.zip"])
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        assert archive.namelist() == ["images/turned.jpg", "images/other.webp.png"]
        turned, other = (Image.open(archive.open(name)) for name in archive.namelist())
        assert (turned.format, other.format) == ("JPEG", "PNG")
        assert turned.getexif().get(0x0112, 1) == 1
        np.testing.assert_allclose(np.asarray(turned).astype(int), RAMP, atol=6)
        np.testing.assert_array_equal(np.asarray(other), RAMP)


def test_turned_tiff_and_16_bits(tmp_path: Path) -> None:
    deep = RAMP[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    Image.fromarray(RAMP).rotate(90, expand=True).save(tmp_path / "turned.tif", tiffinfo={0x0112: 6})
    write_artifacts(with_files(tmp_path / "deep.tif", tmp_path / "turned.tif"), tmp_path, ["images.zip"])
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        read = [np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]
    np.testing.assert_array_equal(read[0], deep)
    np.testing.assert_array_equal(read[1], RAMP)


def test_heic_is_written_as_png(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_bytes("RGB", (400, 300), RAMP.tobytes()).save(str(tmp_path / "phone.heic"), quality=95)
    write_artifacts(with_files(tmp_path / "phone.heic"), tmp_path, ["images.zip"])
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        picture = Image.open(archive.open("images/phone.heic.png"))
        np.testing.assert_allclose(np.asarray(picture).astype(int), RAMP, atol=10)


def test_photographs_that_are_no_files_or_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"photo 0 für\.jpg was not given as a file"):
        write_artifacts(room_reconstruction(1), tmp_path, ["images.zip"])
    with pytest.raises(ExportError, match=r"gone\.jpg cannot be read any more"):
        write_artifacts(with_files(tmp_path / "gone.jpg"), tmp_path, ["images.zip"])
    Image.new("RGB", (40, 30)).save(tmp_path / "small.jpg")
    with pytest.raises(ExportError, match="has 40x30 pixels now; it had 400x300"):
        write_artifacts(with_files(tmp_path / "small.jpg"), tmp_path, ["images.zip"])
    assert [path.name for path in tmp_path.iterdir()] == ["small.jpg"]


def test_names_that_every_reader_takes() -> None:
    names = ["a.jpg", "B.JPEG", "c.png", "my photo.jpg", "my_photo.jpg", "d.heic", "image_000", "e.\tjpg", "f\\g.jpg"]
    assert exported_names(names) == [
        "a.jpg",
        "B.JPEG",
        "c.png",
        "my_photo.jpg",
        "my_photo-2.jpg",
        "d.heic.png",
        "image_000.png",
        "e._jpg.png",
        "f_g.jpg",
    ]
