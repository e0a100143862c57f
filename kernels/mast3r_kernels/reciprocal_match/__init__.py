"""Exact nearest neighbours between two sets of descriptors, and the reciprocal walk over them."""

from mast3r_kernels.reciprocal_match.descriptors import UnusableDescriptorError
from mast3r_kernels.reciprocal_match.op import ReciprocalSearch, nearest, reciprocal_match, reciprocal_match_pairs

__all__ = ["ReciprocalSearch", "UnusableDescriptorError", "nearest", "reciprocal_match", "reciprocal_match_pairs"]
