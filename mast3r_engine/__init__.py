"""MASt3R as a library: photographs in, a metric point cloud and camera poses out."""

from mast3r_engine.checkpoints import load_network
from mast3r_engine.errors import (
    CheckpointError,
    EngineError,
    IntrinsicsError,
    InvalidImageError,
    NetworkOutputError,
    NoOverlapError,
    OptionsError,
    OutOfMemoryError,
    ReferencesError,
    TooFewImagesError,
)
from mast3r_engine.localisation import Localization, PinholeCamera, Reference, encode_reference, localize
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
    "FusionOptions",
    "IntrinsicsError",
    "InvalidImageError",
    "Localization",
    "LocalizeOptions",
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
    "TooFewImagesError",
    "ViewPrediction",
    "build_network",
    "encode_reference",
    "load_network",
    "localize",
    "match",
    "reconstruct",
]
