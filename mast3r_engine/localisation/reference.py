"""A reference photograph, encoded once and kept, in memory or as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from mast3r_engine.errors import IntrinsicsError, StoredDataError
from mast3r_engine.images import ImageSource, load_view, name_images, to_tensor
from mast3r_engine.inference import device_of, encode_images, pixels_per_batch
from mast3r_engine.localisation.camera import CameraLike, PinholeCamera, check_camera
from mast3r_engine.localisation.fingerprint import check_fingerprint, network_fingerprint
from mast3r_engine.localisation.stored_tensors import pack, unpack
from mast3r_engine.predictions import Encoded, PairNetwork
from mast3r_engine.views import ImageGeometry, View

KIND, VERSION = "m3r.reference", 1


@dataclass(frozen=True)
class Reference:
    """What `localize` needs of a photograph; it belongs to the network that encoded it."""

    name: str
    geometry: ImageGeometry
    encoded: Encoded  # tokens (1, S, C)
    exif_focal: float | None = None  # original pixels
    camera: CameraLike | None = None  # original pixels; None: EXIF or the point map
    fingerprint: str | None = None  # of the network that encoded it; None: not known, not checked

    @property
    def nbytes(self) -> int:
        """Memory that keeping it takes."""
        return self.encoded.tokens.nbytes

    def to_bytes(self) -> bytes:
        """The reference as one file; tokens in bfloat16, which half the size and no loss that a pose would show."""
        header = {
            "name": self.name,
            "geometry": asdict(self.geometry),
            "height": self.encoded.height,
            "width": self.encoded.width,
            "exif_focal": self.exif_focal,
            "K": None if self.camera is None else check_camera(self.camera, self.name, self.geometry).tolist(),
            "fingerprint": self.fingerprint,
        }
        return pack(KIND, VERSION, header, {"tokens": self.encoded.tokens.to(torch.bfloat16)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Reference:
        """Read what `to_bytes` wrote, tokens on the CPU; StoredDataError for anything else."""
        header, tensors = unpack(data, KIND, VERSION)
        try:
            return _restore(header, tensors["tokens"])
        except (KeyError, TypeError, ValueError, IntrinsicsError) as error:
            raise StoredDataError(f"damaged {KIND}: {error!r}; make it anew") from None


def _restore(header: Mapping[str, Any], tokens: torch.Tensor) -> Reference:
    geometry = ImageGeometry(**header["geometry"])
    if tokens.ndim != 3 or len(tokens) != 1:
        raise ValueError(f"tokens of shape {tuple(tokens.shape)}")
    K = header["K"]
    camera = None if K is None else PinholeCamera(np.asarray(K), geometry.original_width, geometry.original_height)
    if camera is not None:
        check_camera(camera, header["name"], geometry)
    return Reference(
        name=header["name"],
        geometry=geometry,
        encoded=Encoded(tokens, int(header["height"]), int(header["width"])),
        exif_focal=header["exif_focal"],
        camera=camera,
        fingerprint=header["fingerprint"],
    )


Photograph = ImageSource | Reference


def encode_reference(
    image: ImageSource,
    network: PairNetwork,
    image_size: int | None = None,
    intrinsics: CameraLike | None = None,
) -> Reference:
    """Encode one photograph once, for any number of `localize` calls; `to_bytes` keeps it beyond the process.

    InvalidImageError, IntrinsicsError, OptionsError, NetworkOutputError as in `localize`.
    """
    return encode_photographs([image], network, image_size, [intrinsics])[0]


def encode_photographs(
    photographs: Sequence[Photograph],
    network: PairNetwork,
    image_size: int | None = None,
    intrinsics: Sequence[CameraLike | None] | None = None,  # one per photograph; wins over a reference's own
) -> list[Reference]:
    """Encode what is not encoded yet, photographs of one size in batches; ForeignNetworkError for another network's."""
    for photo in photographs:
        if isinstance(photo, Reference) and photo.fingerprint is not None:
            check_fingerprint(f"reference {photo.name}", photo.fingerprint, network)
    cameras = list(intrinsics) if intrinsics is not None else [None] * len(photographs)
    sources = [photo for photo in photographs if not isinstance(photo, Reference)]
    fresh = iter(_encode_views(_load(sources, network, image_size), network))
    encoded = [photo if isinstance(photo, Reference) else next(fresh) for photo in photographs]
    return [_with_camera(reference, camera) for reference, camera in zip(encoded, cameras, strict=True)]


def _load(sources: Sequence[ImageSource], network: PairNetwork, image_size: int | None) -> list[View]:
    size = image_size if image_size is not None else getattr(network, "image_size", None)
    patch_size, square_crop = getattr(network, "patch_size", 16), getattr(network, "square_crop", False)
    return [
        load_view(source, name, size, patch_size, square_crop) for name, source in zip(name_images(sources), sources, strict=True)
    ]


def _encode_views(views: Sequence[View], network: PairNetwork) -> list[Reference]:
    encoded: dict[int, Encoded] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, view in enumerate(views):
        groups.setdefault(view.pixels.shape, []).append(index)
    for (H, W, _), members in groups.items():
        size = max(1, pixels_per_batch(device_of(network)) // (H * W))
        for start in range(0, len(members), size):
            batch = members[start : start + size]
            chosen = [views[i] for i in batch]
            encoded |= dict(zip(batch, encode_images(network, to_tensor(chosen), [v.name for v in chosen]), strict=True))
    fingerprint = network_fingerprint(network)
    return [
        Reference(view.name, view.geometry, encoded[k], view.exif_focal, fingerprint=fingerprint) for k, view in enumerate(views)
    ]


def _with_camera(reference: Reference, camera: CameraLike | None) -> Reference:
    camera = reference.camera if camera is None else camera
    if camera is None:
        return reference
    check_camera(camera, reference.name, reference.geometry)
    return replace(reference, camera=camera)
