"""COLMAP's text files: https://colmap.github.io/format.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mast3r_engine.export.colmap_model import ColmapModel


def text_files(model: ColmapModel, comments: Sequence[str] = ()) -> list[tuple[str, bytes]]:
    """`cameras.txt`, `images.txt` and `points3D.txt`; numbers are written so that they come back exactly."""
    return [
        ("cameras.txt", _join(["CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy", *comments], _cameras(model))),
        ("images.txt", _join(["IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "X Y POINT3D_ID ...", *comments], _images(model))),
        ("points3D.txt", _join(["POINT3D_ID X Y Z R G B ERROR (IMAGE_ID POINT2D_IDX) ...", *comments], _points(model))),
    ]


def _join(comments: Iterable[str], lines: Iterable[str]) -> bytes:
    return "\n".join([*(f"# {comment}" for comment in comments), *lines, ""]).encode()


def _cameras(model: ColmapModel) -> Iterable[str]:
    for camera in model.cameras:
        yield f"{camera.id} PINHOLE {camera.width} {camera.height} {_floats(camera.params)}"


def _images(model: ColmapModel) -> Iterable[str]:
    for image in model.images:
        yield f"{image.id} {_floats(image.quaternion)} {_floats(image.translation)} {image.camera_id} {image.name}"
        yield " ".join(f"{_floats(xy)} {point}" for xy, point in zip(image.xy, image.point_ids, strict=True))


def _points(model: ColmapModel) -> Iterable[str]:
    points = model.points
    for number, track in enumerate(points.tracks()):
        color = " ".join(str(value) for value in points.rgb[number].tolist())
        sightings = " ".join(str(value) for value in track.ravel().tolist())
        head = f"{number + 1} {_floats(points.xyz[number])} {color} {float(points.error[number])!r}"
        yield f"{head} {sightings}".rstrip()


def _floats(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)
