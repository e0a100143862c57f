"""Localisation: a query photograph's metric pose against references or in maps, with a covariance or a reason why not."""

from mast3r_engine.localisation.camera import Intrinsics, PinholeCamera
from mast3r_engine.localisation.localize import localize
from mast3r_engine.localisation.localize_in_maps import MapPhotoResult, MapPose, localize_in_maps
from mast3r_engine.localisation.map_prior import MapPrior
from mast3r_engine.localisation.reference import Reference, encode_reference
from mast3r_engine.localisation.result import Localization, ReferenceResult
from mast3r_engine.localisation.scene_map import MapPhoto, SceneMap, freeze_map
from mast3r_engine.localisation.scene_map_file import map_from_bytes, map_to_bytes

__all__ = [
    "Intrinsics",
    "Localization",
    "MapPhoto",
    "MapPhotoResult",
    "MapPose",
    "MapPrior",
    "PinholeCamera",
    "Reference",
    "ReferenceResult",
    "SceneMap",
    "encode_reference",
    "freeze_map",
    "localize",
    "localize_in_maps",
    "map_from_bytes",
    "map_to_bytes",
]
