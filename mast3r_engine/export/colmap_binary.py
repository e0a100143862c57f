"""COLMAP's binary files, little-endian and packed."""

from __future__ import annotations

import struct

import numpy as np

from mast3r_engine.export.colmap_model import ColmapModel

PINHOLE = 1
KEYPOINT = np.dtype([("xy", "<f8", 2), ("point", "<u8")])
SIGHTING = np.dtype([("image", "<u4"), ("keypoint", "<u4")])


def binary_files(model: ColmapModel) -> list[tuple[str, bytes]]:
    """`cameras.bin`, `images.bin` and `points3D.bin`."""
    return [("cameras.bin", _cameras(model)), ("images.bin", _images(model)), ("points3D.bin", _points(model))]


def _cameras(model: ColmapModel) -> bytes:
    rows = [struct.pack("<IiQQ4d", camera.id, PINHOLE, camera.width, camera.height, *camera.params) for camera in model.cameras]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


def _images(model: ColmapModel) -> bytes:
    parts = [struct.pack("<Q", len(model.images))]
    for image in model.images:
        keypoints = np.empty(len(image.xy), KEYPOINT)
        keypoints["xy"], keypoints["point"] = image.xy, image.point_ids
        parts.append(struct.pack("<I7dI", image.id, *image.quaternion, *image.translation, image.camera_id))
        parts.append(image.name.encode() + b"\0" + struct.pack("<Q", len(keypoints)) + keypoints.tobytes())
    return b"".join(parts)


def _points(model: ColmapModel) -> bytes:
    points = model.points
    sightings = np.empty(len(points.image_ids), SIGHTING)
    sightings["image"], sightings["keypoint"] = points.image_ids, points.keypoints
    packed, size, start = sightings.tobytes(), SIGHTING.itemsize, 0
    parts = [struct.pack("<Q", len(points.xyz))]
    rows = zip(points.xyz.tolist(), points.rgb.tolist(), points.error.tolist(), points.length.tolist(), strict=True)
    for number, (xyz, rgb, error, length) in enumerate(rows):
        parts.append(struct.pack("<Q3d3BdQ", number + 1, *xyz, *rgb, error, length))
        parts.append(packed[start * size : (start + length) * size])
        start += length
    return b"".join(parts)
