"""A finished reconstruction, frozen for localisation: poses, cameras, depths, encodings and what retrieval needs.

Frame: that of one component of the reconstruction (its first registered photograph is the identity unless pose priors said
otherwise); OpenCV axes, metres when `metric`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast3r_engine.errors import MapError
from mast3r_engine.images import ImageSource
from mast3r_engine.localisation.camera import PinholeCamera
from mast3r_engine.localisation.fingerprint import network_fingerprint
from mast3r_engine.localisation.global_descriptor import describe, learn_vocabulary
from mast3r_engine.localisation.reference import Reference, encode_photographs
from mast3r_engine.memory_errors import memory_errors_named
from mast3r_engine.predictions import PairNetwork
from mast3r_engine.reconstruction import Reconstruction
from mast3r_engine.views import ImageGeometry

Floats = NDArray[np.float64]

CHUNK = 16  # photographs that are decoded from their files at a time
# Camera error of a reconstruction of one photograph; of N it falls with their root (study of maps on the oracle). A focal length
# that is too long moves its camera back: what is seen stays as it was, so that no residual shows it.
RECONSTRUCTED = 0.004
SAMPLES = 16  # points along the longer side of a photograph by which its view is compared with a prior


@dataclass(frozen=True)
class MapPhoto:
    """One registered photograph."""

    reference: Reference  # tokens in bfloat16 on the CPU; camera as reconstructed
    cam2map: Floats  # (4, 4)
    depth: NDArray[np.float32]  # (h, w) z-depth at network size, NaN where unknown

    @property
    def network_K(self) -> Floats:  # (3, 3)
        """The camera in network pixels."""
        camera = self.reference.camera
        assert isinstance(camera, PinholeCamera)
        return self.reference.geometry.intrinsics_to_network(camera.K)

    def sample_points(self) -> Floats:  # (n, 3) map frame
        """Some of the points it sees."""
        height, width = self.depth.shape
        step = max(1, max(height, width) // SAMPLES)
        y, x = (axis.ravel() for axis in np.mgrid[step // 2 : height : step, step // 2 : width : step])
        depth, K = self.depth[y, x].astype(np.float64), self.network_K
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(len(x))], axis=1)
        known = np.isfinite(depth) & (depth > 0)
        points: Floats = (rays * depth[:, None])[known] @ self.cam2map[:3, :3].T + self.cam2map[:3, 3]
        return points


@dataclass(frozen=True)
class SceneMap:
    """What `localize_in_maps` searches; it belongs to the network that encoded it."""

    photos: tuple[MapPhoto, ...]
    vocabulary: Tensor  # (K, C) float32
    descriptors: Tensor  # (N, K * C) float32, one per photograph
    metric: bool
    fingerprint: str
    camera_error: float  # standard deviation of the cameras along their lines of sight, over the depth they see; 0: surveyed
    component: int = 0  # of the reconstruction it came from
    frame: str = "first registered photo of component 0"

    @property
    def nbytes(self) -> int:
        """Memory that keeping it takes."""
        kept = sum(photo.reference.nbytes + photo.depth.nbytes for photo in self.photos)
        return kept + self.vocabulary.nbytes + self.descriptors.nbytes

    @property
    def names(self) -> list[str]:
        """The photographs' names."""
        return [photo.reference.name for photo in self.photos]


def freeze_map(
    scene: Reconstruction,
    images: Sequence[ImageSource],  # as they were given to `reconstruct`, those that could be read
    network: PairNetwork,
    component: int = 0,
    image_size: int | None = None,  # as it was given to `reconstruct`
    frame: str | None = None,  # what the frame is, in words; None: the component's first registered photograph
) -> SceneMap:
    """Freeze the registered photographs of one component, each encoded once.

    MapError when the component has no photograph, the images are not those of the reconstruction, or no depth is known.
    """
    if len(images) != len(scene.names):
        raise MapError(f"{len(images)} images for a reconstruction of {len(scene.names)}; give the same ones in the same order")
    members = [int(k) for k in np.flatnonzero(scene.component == component)]
    if not members:
        raise MapError(f"the reconstruction has no photograph in component {component}; it has {_components(scene)}")
    photos: list[MapPhoto] = []
    with memory_errors_named("freeze a smaller reconstruction"):
        for start in range(0, len(members), CHUNK):
            photos += _encode(scene, images, members[start : start + CHUNK], network, image_size)
        error = RECONSTRUCTED / np.sqrt(len(photos))
        said = frame or f"first registered photo of component {component}"
        return assemble_map(photos, scene.metric, network, error, component, said)


def assemble_map(
    photos: Sequence[MapPhoto],  # encoded by `network`
    metric: bool,
    network: PairNetwork,
    camera_error: float,
    component: int,
    frame: str,
) -> SceneMap:
    """A map of photographs whose poses and depths are known already; learns what retrieval needs."""
    tokens = [photo.reference.encoded.tokens[0] for photo in photos]
    vocabulary = learn_vocabulary(tokens)
    descriptors = torch.stack([describe(t, vocabulary) for t in tokens])
    return SceneMap(tuple(photos), vocabulary, descriptors, metric, network_fingerprint(network), camera_error, component, frame)


def _components(scene: Reconstruction) -> str:
    found = sorted({int(c) for c in scene.component if c >= 0})
    return f"components {', '.join(map(str, found))}" if found else "none at all"


def _encode(
    scene: Reconstruction, images: Sequence[ImageSource], members: Sequence[int], network: PairNetwork, image_size: int | None
) -> list[MapPhoto]:
    encoded = encode_photographs([images[k] for k in members], network, image_size)
    return [_freeze_photo(scene, k, reference) for k, reference in zip(members, encoded, strict=True)]


def _freeze_photo(scene: Reconstruction, k: int, reference: Reference) -> MapPhoto:
    geometry, name = scene.geometry[k], scene.names[k]
    if reference.geometry != geometry:
        raise MapError(
            f"{name} is not as it was reconstructed: {_sizes(reference.geometry)}, not {_sizes(geometry)}; "
            "give the same photographs and the same image_size"
        )
    depth = np.asarray(scene.depth[k], np.float32)
    if depth.shape != (geometry.height, geometry.width) or not np.isfinite(depth).any():
        raise MapError(f"{name} has no depth; freeze a reconstruction that kept its depth maps")
    compact = replace(reference.encoded, tokens=reference.encoded.tokens.to("cpu", torch.bfloat16))
    camera = PinholeCamera(scene.intrinsics[k].astype(np.float64), geometry.original_width, geometry.original_height)
    return MapPhoto(replace(reference, name=name, encoded=compact, camera=camera), scene.cam2world[k].astype(np.float64), depth)


def _sizes(geometry: ImageGeometry) -> str:
    return f"{geometry.original_width}x{geometry.original_height} pixels, {geometry.width}x{geometry.height} at the network"
