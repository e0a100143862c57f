"""Memory that did not suffice, under one name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mast3r_engine.errors import OutOfMemoryError


@contextmanager
def memory_errors_named(remedy: str) -> Iterator[None]:
    """Raise OutOfMemoryError, with what to do about it, for whatever Python and torch raise when memory runs out."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemoryError(f"memory did not suffice ({error}); {remedy}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # how torch's CPU allocator fails
            raise
        raise OutOfMemoryError(f"memory did not suffice ({error}); {remedy}") from error
