"""A reference photograph, encoded once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mast3r_engine.images import ImageSource, load_view, name_images, to_tensor
from mast3r_engine.inference import device_of, encode_images, pixels_per_batch
from mast3r_engine.localisation.camera import CameraLike, check_camera
from mast3r_engine.predictions import Encoded, PairNetwork
from mast3r_engine.views import ImageGeometry, View


@dataclass(frozen=True)
class Reference:
    """What `localize` needs of a photograph; it belongs to the network that encoded it."""

    name: str
    geometry: ImageGeometry
    encoded: Encoded  # tokens (1, S, C)
    exif_focal: float | None = None  # original pixels
    camera: CameraLike | None = None  # original pixels; None: EXIF or the point map


Photograph = ImageSource | Reference


def encode_reference(
    image: ImageSource,
    network: PairNetwork,
    image_size: int | None = None,
    intrinsics: CameraLike | None = None,
) -> Reference:
    """Encode one photograph once, for any number of `localize` calls.

    InvalidImageError, IntrinsicsError, OptionsError, NetworkOutputError as in `localize`.
    """
    return encode_photographs([image], network, image_size, [intrinsics])[0]


def encode_photographs(
    photographs: Sequence[Photograph],
    network: PairNetwork,
    image_size: int | None = None,
    intrinsics: Sequence[CameraLike | None] | None = None,  # one per photograph; wins over a reference's own
) -> list[Reference]:
    """Encode what is not encoded yet, photographs of one size in batches."""
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
    return [Reference(view.name, view.geometry, encoded[k], view.exif_focal) for k, view in enumerate(views)]


def _with_camera(reference: Reference, camera: CameraLike | None) -> Reference:
    camera = reference.camera if camera is None else camera
    if camera is None:
        return reference
    check_camera(camera, reference.name, reference.geometry)
    return replace(reference, camera=camera)
