"""The published sparse alignment (MASt3R-SfM), written from its formulas: the baseline of the benchmarks, not a product path.

Adam from superposed cameras along a kinematic tree, 500 coarse steps on 3D distances, then 200 fine steps on reprojection errors.
"""

from mast3r_engine.evaluation.published_optimiser.adam import PublishedResult, PublishedSchedule, optimise_as_published
from mast3r_engine.evaluation.published_optimiser.canonical import PublishedCanonical, published_canonical

__all__ = ["PublishedCanonical", "PublishedResult", "PublishedSchedule", "optimise_as_published", "published_canonical"]
