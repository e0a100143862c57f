"""Global alignment: from canonical views and what ties their pairs to cameras and depths."""

from mast3r_engine.alignment.canonical_view import CanonicalAccumulator, CanonicalView
from mast3r_engine.alignment.dense import EdgePrediction, align_dense, sample_edge, sampled_pixels
from mast3r_engine.alignment.placing import place
from mast3r_engine.alignment.sparse import align_single, align_sparse

__all__ = [
    "CanonicalAccumulator",
    "CanonicalView",
    "EdgePrediction",
    "align_dense",
    "align_single",
    "align_sparse",
    "place",
    "sample_edge",
    "sampled_pixels",
]
