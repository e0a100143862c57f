"""Pixel correspondences between two photographs, from the network's descriptors."""

from mast3r_engine.matching.described import DescribedView, described
from mast3r_engine.matching.extract import match_one_pass, match_symmetric
from mast3r_engine.matching.reciprocal import match

__all__ = ["DescribedView", "described", "match", "match_one_pass", "match_symmetric"]
