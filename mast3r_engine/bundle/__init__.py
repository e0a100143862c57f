"""Bundle adjustment of an alignment, when asked for."""

from mast3r_engine.bundle.adjust import Held, load_pycolmap
from mast3r_engine.bundle.refine import refine_alignment, refine_by_bundle

__all__ = ["Held", "load_pycolmap", "refine_alignment", "refine_by_bundle"]
