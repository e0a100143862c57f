"""Fusion: depth maps of registered photographs -> one coloured cloud within a budget."""

from mast3r_engine.fusion.cloud import Cloud
from mast3r_engine.fusion.fuse import fuse

__all__ = ["Cloud", "fuse"]
