"""From the files of a job's priors to what the engine takes. Importing this loads the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from mast3r_engine.errors import PriorsError
from mast3r_engine.prior_images import read_depth, read_mask
from mast3r_engine.priors import Priors
from mast3r_engine.priors_document import priors_from_document
from services.worker.engine import PriorFiles

T = TypeVar("T")


def to_priors(files: PriorFiles) -> Priors:
    """Read everything; raises the engine's PriorsError, which names the photograph.

    The API has refused whatever is impossible: what fails here, API and engine do not see alike.
    """
    return priors_from_document(
        files.cameras, masks=_read_all(files.masks, read_mask), depths=_read_all(files.depths, read_depth)
    )


def _read_all(paths: Mapping[str, Path], read: Callable[[Path], T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, path in paths.items():
        try:
            found[name] = read(path)
        except (PriorsError, OSError, ValueError) as error:
            raise PriorsError(f"{name}: {error}") from error
    return found
