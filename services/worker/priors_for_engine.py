"""From the files of a job's priors to what the engine takes. Importing this loads the engine."""

from __future__ import annotations

from mast3r_engine.prior_images import ReadWhenAsked, read_depth, read_mask
from mast3r_engine.priors import Priors
from mast3r_engine.priors_document import priors_from_document
from services.worker.engine import PriorFiles


def to_priors(files: PriorFiles) -> Priors:
    """Read the document; masks and depth maps are read one by one as the engine asks for them.

    Raises the engine's PriorsError, which names the photograph, as the engine does later for a bad map. The API has refused
    whatever is impossible: what fails here, API and engine do not see alike.
    """
    return priors_from_document(
        files.cameras, masks=ReadWhenAsked(files.masks, read_mask), depths=ReadWhenAsked(files.depths, read_depth)
    )
