"""A scene map as one file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mast3r_engine.errors import IntrinsicsError, StoredDataError
from mast3r_engine.localisation.camera import PinholeCamera, check_camera
from mast3r_engine.localisation.reference import Reference
from mast3r_engine.localisation.scene_map import MapPhoto, SceneMap
from mast3r_engine.localisation.stored_tensors import pack, unpack
from mast3r_engine.predictions import Encoded
from mast3r_engine.views import ImageGeometry

KIND, VERSION = "m3r.map", 1


def map_to_bytes(scene_map: SceneMap) -> bytes:
    """Write a map: tokens in bfloat16, depths in float32."""
    header = {
        "metric": scene_map.metric,
        "fingerprint": scene_map.fingerprint,
        "camera_error": scene_map.camera_error,
        "component": scene_map.component,
        "frame": scene_map.frame,
        "photos": [_photo_header(photo) for photo in scene_map.photos],
    }
    tensors = {
        "vocabulary": scene_map.vocabulary,
        "descriptors": scene_map.descriptors,
        "cam2map": torch.from_numpy(np.stack([photo.cam2map for photo in scene_map.photos])),
    }
    for k, photo in enumerate(scene_map.photos):
        tensors[f"tokens.{k}"] = photo.reference.encoded.tokens
        tensors[f"depth.{k}"] = torch.from_numpy(photo.depth)
    return pack(KIND, VERSION, header, tensors)


def map_from_bytes(data: bytes) -> SceneMap:
    """Read what `map_to_bytes` wrote; StoredDataError for anything else."""
    header, tensors = unpack(data, KIND, VERSION)
    try:
        poses = tensors["cam2map"].numpy()
        photos = tuple(
            _restore_photo(entry, poses[k], tensors[f"tokens.{k}"], tensors[f"depth.{k}"], str(header["fingerprint"]))
            for k, entry in enumerate(header["photos"])
        )
        if not photos or len(tensors["descriptors"]) != len(photos) or poses.shape != (len(photos), 4, 4):
            raise ValueError(f"{len(photos)} photographs, {len(poses)} poses")
        return SceneMap(
            photos,
            tensors["vocabulary"],
            tensors["descriptors"],
            bool(header["metric"]),
            str(header["fingerprint"]),
            float(header["camera_error"]),
            int(header["component"]),
            str(header["frame"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, IntrinsicsError) as error:
        raise StoredDataError(f"damaged {KIND}: {error!r}; make it anew") from None


def _photo_header(photo: MapPhoto) -> dict[str, Any]:
    reference = photo.reference
    assert isinstance(reference.camera, PinholeCamera)
    return {
        "name": reference.name,
        "geometry": asdict(reference.geometry),
        "height": reference.encoded.height,
        "width": reference.encoded.width,
        "K": reference.camera.K.tolist(),
    }


def _restore_photo(
    entry: dict[str, Any],
    cam2map: np.ndarray,  # (4, 4)
    tokens: Tensor,  # (1, S, C)
    depth: Tensor,  # (h, w)
    fingerprint: str,
) -> MapPhoto:
    geometry = ImageGeometry(**entry["geometry"])
    camera = PinholeCamera(np.asarray(entry["K"], np.float64), geometry.original_width, geometry.original_height)
    check_camera(camera, entry["name"], geometry)
    if tokens.ndim != 3 or tuple(depth.shape) != (geometry.height, geometry.width) or not np.isfinite(cam2map).all():
        raise ValueError(f"photograph {entry['name']!r}: tokens {tuple(tokens.shape)}, depth {tuple(depth.shape)}")
    encoded = Encoded(tokens, int(entry["height"]), int(entry["width"]))
    reference = Reference(str(entry["name"]), geometry, encoded, camera=camera, fingerprint=fingerprint)
    return MapPhoto(reference, np.asarray(cam2map, np.float64), depth.numpy())
