"""Localisation: the metric pose of a query photograph against reference photographs, with a covariance or a reason why not."""

from mast3r_engine.localisation.camera import Intrinsics, PinholeCamera
from mast3r_engine.localisation.localize import localize
from mast3r_engine.localisation.reference import Reference, encode_reference
from mast3r_engine.localisation.result import Localization, ReferenceResult

__all__ = ["Intrinsics", "Localization", "PinholeCamera", "Reference", "ReferenceResult", "encode_reference", "localize"]
