"""Global alignment: from canonical views and matches to cameras and depths."""

from mast3r_engine.alignment.canonical_view import CanonicalAccumulator, CanonicalView
from mast3r_engine.alignment.sparse import align_single, align_sparse

__all__ = ["CanonicalAccumulator", "CanonicalView", "align_single", "align_sparse"]
