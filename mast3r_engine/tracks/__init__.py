"""Points that several photographs see, joined from pairwise matches."""

from mast3r_engine.tracks.building import Tracks, build_tracks, join_tracks, reprojection_errors, several
from mast3r_engine.tracks.spreading import spread_tracks
from mast3r_engine.tracks.subpixel import find_tracks
from mast3r_engine.tracks.triangulation import Cameras, Observations, triangulate

__all__ = [
    "Cameras",
    "Observations",
    "Tracks",
    "build_tracks",
    "find_tracks",
    "join_tracks",
    "reprojection_errors",
    "several",
    "spread_tracks",
    "triangulate",
]
