"""MASt3R as a library: photographs in, a metric point cloud and camera poses out."""

from mast3r_engine.checkpoints import load_network
from mast3r_engine.errors import (
    CheckpointError,
    EngineError,
    ForeignNetworkError,
    IntrinsicsError,
    InvalidImageError,
    MapError,
    NetworkOutputError,
    NoOverlapError,
    OptionsError,
    OutOfMemoryError,
    ReferencesError,
    StoredDataError,
    TooFewImagesError,
)
from mast3r_engine.localisation import (
    Localization,
    MapPose,
    MapPrior,
    PinholeCamera,
    Reference,
    SceneMap,
    encode_reference,
    freeze_map,
    localize,
    localize_in_maps,
    map_from_bytes,
    map_to_bytes,
)
from mast3r_engine.matching import match
from mast3r_engine.network import build_network
from mast3r_engine.options import AlignmentOptions, FusionOptions, LocalizeOptions, MatchingOptions, Options
from mast3r_engine.pipeline import reconstruct
from mast3r_engine.predictions import Encoded, ViewPrediction
from mast3r_engine.reconstruction import Reconstruction

__all__ = [
    "AlignmentOptions",
    "CheckpointError",
    "Encoded",
    "EngineError",
    "ForeignNetworkError",
    "FusionOptions",
    "IntrinsicsError",
    "InvalidImageError",
    "Localization",
    "LocalizeOptions",
    "MapError",
    "MapPose",
    "MapPrior",
    "MatchingOptions",
    "NetworkOutputError",
    "NoOverlapError",
    "Options",
    "OptionsError",
    "OutOfMemoryError",
    "PinholeCamera",
    "Reconstruction",
    "Reference",
    "ReferencesError",
    "SceneMap",
    "StoredDataError",
    "TooFewImagesError",
    "ViewPrediction",
    "build_network",
    "encode_reference",
    "freeze_map",
    "load_network",
    "localize",
    "localize_in_maps",
    "map_from_bytes",
    "map_to_bytes",
    "match",
    "reconstruct",
]
