"""MASt3R as a localisation worker's engine. Importing this loads torch."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mast3r_engine import load_network
from mast3r_engine.checkpoints import load_default_network
from mast3r_engine.errors import MapError
from mast3r_engine.localisation import (
    Localization,
    MapPose,
    MapPrior,
    PinholeCamera,
    Reference,
    SceneMap,
    freeze_map,
    localize,
    localize_in_maps,
    map_from_bytes,
    map_to_bytes,
)
from mast3r_engine.localisation.fingerprint import network_fingerprint
from mast3r_engine.localisation.reference import encode_photographs
from mast3r_engine.network import GraphedNetwork
from mast3r_engine.predictions import Encoded, PairNetwork, ViewPrediction
from services.adapters.settings import Settings
from services.contract.localisation import CameraIntrinsics, Prior
from services.worker.localisation_engine import (
    DecodedPhoto,
    Found,
    FrozenMap,
    NotFound,
    Outcome,
    PosedReference,
    SceneToFreeze,
)
from services.worker.localisation_state import load_scene

log = logging.getLogger("m3r.localisation")

MAP_FILE = "map.m3r"
WARM_UP_SIZE = (640, 480)


class Mast3rLocalisation:
    """A network, kept across queries."""

    def __init__(self, net: PairNetwork, name: str, graphed: GraphedNetwork | None = None) -> None:
        """`graphed` records the same network's calls: queries use it, one thread at a time, since its buffers are shared."""
        self.name = name
        self.fingerprint = network_fingerprint(net)
        self._plain = net
        self._net: PairNetwork = net
        self._lock = threading.Lock()
        if graphed is not None:
            graphed.fingerprint = self.fingerprint  # type: ignore[assignment]
            self._net = graphed

    def warm_up(self) -> None:
        """Localise noise in noise."""
        noise = np.random.default_rng(0).integers(0, 256, (2, WARM_UP_SIZE[1], WARM_UP_SIZE[0], 3), dtype=np.uint8)
        query, reference = encode_photographs([Image.fromarray(each) for each in noise], self._net)
        localize(query, [reference], self._net)

    def encode(self, photos: Sequence[DecodedPhoto]) -> list[Reference]:
        """See `LocalisationEngine`; photographs of one size go through the network together."""
        cameras = [_camera(photo.intrinsics) for photo in photos]
        with self._lock:
            encoded = encode_photographs([photo.image for photo in photos], self._net, None, cameras)
        return [replace(reference, name=photo.name) for reference, photo in zip(encoded, photos, strict=True)]

    def size_of(self, encoded: Reference) -> int:
        """See `LocalisationEngine`."""
        return encoded.nbytes

    def pack(self, encoded: Reference) -> bytes:
        """See `LocalisationEngine`."""
        return encoded.to_bytes()

    def unpack(self, data: bytes) -> Reference:
        """See `LocalisationEngine`."""
        return Reference.from_bytes(data)

    def with_intrinsics(self, encoded: Reference, intrinsics: CameraIntrinsics | None) -> Reference:
        """See `LocalisationEngine`."""
        return replace(encoded, camera=_camera(intrinsics))

    def localize(self, query: Reference, references: Sequence[PosedReference]) -> Outcome:
        """See `LocalisationEngine`."""
        poses = [reference.pose for reference in references]
        world = None if any(pose is None for pose in poses) else np.asarray(poses, np.float64)
        with self._lock:
            found = localize(query, [each.encoded for each in references], self._net, reference_poses=world)
        return _describe_pair(found)

    def freeze(self, scene: SceneToFreeze, folder: Path, give_way: Callable[[], None]) -> FrozenMap:
        """See `LocalisationEngine`."""
        if scene.state is None:
            raise MapError("this job was done before depths were kept with it; reconstruct it again, then freeze it")
        reconstruction = load_scene(scene.state)
        paths = {photo.name: photo.path for photo in scene.photos}
        world = json.loads(scene.poses.read_text()).get("world")
        net = _GivesWay(self._plain, self.fingerprint, give_way)
        frozen = freeze_map(reconstruction, [paths[name] for name in reconstruction.names], net, frame=world)
        (folder / MAP_FILE).write_bytes(map_to_bytes(frozen))
        return FrozenMap(len(frozen.photos), frozen.metric, _scale_source(frozen.metric))

    def open_map(self, folder: Path) -> SceneMap:
        """See `LocalisationEngine`."""
        return map_from_bytes((folder / MAP_FILE).read_bytes())

    def localize_in_maps(self, query: Reference, maps: Sequence[SceneMap], priors: Sequence[Prior | None]) -> Outcome:
        """See `LocalisationEngine`."""
        with self._lock:
            found = localize_in_maps(query, maps, self._net, prior=[_prior(prior) for prior in priors])
        return _describe_map_pose(found)


class _GivesWay(torch.nn.Module):
    """The same network, which lets queries go first each time it is used."""

    def __init__(self, net: PairNetwork, fingerprint: str, give_way: Callable[[], None]) -> None:
        super().__init__()
        self._inner = net  # registered, where it is a module: its device is found through this one's parameters
        self._give_way = give_way
        self.supports_outputs = False  # `decode` takes no wishes here; freezing decodes nothing
        self.fingerprint = fingerprint

    def encode(self, images: torch.Tensor) -> Encoded:  # (B, 3, H, W)
        self._give_way()
        return self._inner.encode(images)

    def decode(self, a: Encoded, b: Encoded) -> tuple[ViewPrediction, ViewPrediction]:
        self._give_way()
        return self._inner.decode(a, b)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_inner"), name)


def load_mast3r_localisation(settings: Settings) -> Mast3rLocalisation:
    """Load the checkpoint of the settings, as the reconstruction worker does."""
    threads = settings.localisation_threads or settings.threads
    if threads is not None:
        torch.set_num_threads(threads)
    if settings.checkpoint == "default":
        net = load_default_network(settings.device, settings.dtype)
    else:
        net = load_network(settings.checkpoint, settings.device, settings.dtype)
    if not net.trained:
        log.warning("untrained network: poses are meaningless")
    graphed = GraphedNetwork(net) if settings.cuda_graphs else None
    return Mast3rLocalisation(net, f"mast3r:{settings.checkpoint}", graphed)


def _describe_pair(found: Localization) -> Outcome:
    if not found.localized:
        return NotFound(str(found.reason), found.detail)
    in_world = found.cam2world is not None and found.world_covariance is not None
    pose, covariance = (found.cam2world, found.world_covariance) if in_world else (found.query2reference, found.covariance)
    assert pose is not None
    assert covariance is not None
    return Found(
        pose=pose.tolist(),
        covariance=covariance.tolist(),
        frame=None if in_world else found.reference_index,
        metric=found.scale_source == "metric_point_maps",
        scale_source=found.scale_source,
        inliers=found.inliers,
        inlier_ratio=found.inlier_ratio,
        reprojection_px=found.reprojection_px,
        used=list(found.fused),
    )


def _describe_map_pose(found: MapPose) -> Outcome:
    if not found.localized:
        return NotFound(str(found.reason), found.detail)
    used = [photo.name for photo in found.photos if photo.map_index == found.map_index and photo.inliers > 0]
    return Found(
        pose=found.cam2map.tolist(),
        covariance=found.covariance.tolist(),
        frame=found.map_index,
        metric=found.metric,
        scale_source="map",
        inliers=found.inliers,
        inlier_ratio=found.inlier_ratio,
        reprojection_px=found.reprojection_px,
        used=used,
    )


def _camera(intrinsics: CameraIntrinsics | None) -> PinholeCamera | np.ndarray[Any, Any] | None:
    if intrinsics is None:
        return None
    K = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1.0]])
    if intrinsics.width is None or intrinsics.height is None:
        return K
    return PinholeCamera(K, intrinsics.width, intrinsics.height)


def _prior(prior: Prior | None) -> MapPrior | None:
    if prior is None:
        return None
    if prior.pose is not None:
        return MapPrior.near(prior.pose, prior.radius)
    return MapPrior.at(prior.position or [], prior.radius)


def _scale_source(metric: bool) -> str:
    return "metric_point_maps" if metric else "network_units"
