"""MASt3R as a library: photographs in, a metric point cloud and camera poses out."""

from mast3r_engine.checkpoints import load_network
from mast3r_engine.errors import (
    CheckpointError,
    EngineError,
    InvalidImageError,
    NetworkOutputError,
    NoOverlapError,
    OptionsError,
    OutOfMemoryError,
    TooFewImagesError,
)
from mast3r_engine.matching import match
from mast3r_engine.network import build_network
from mast3r_engine.options import AlignmentOptions, FusionOptions, MatchingOptions, Options
from mast3r_engine.pipeline import reconstruct
from mast3r_engine.predictions import Encoded, ViewPrediction
from mast3r_engine.reconstruction import Reconstruction

__all__ = [
    "AlignmentOptions",
    "CheckpointError",
    "Encoded",
    "EngineError",
    "FusionOptions",
    "InvalidImageError",
    "MatchingOptions",
    "NetworkOutputError",
    "NoOverlapError",
    "Options",
    "OptionsError",
    "OutOfMemoryError",
    "Reconstruction",
    "TooFewImagesError",
    "ViewPrediction",
    "build_network",
    "load_network",
    "match",
    "reconstruct",
]
