"""Names that the API sends and the worker answers to. A message carries the job's id alone."""

from __future__ import annotations

RECONSTRUCT_TASK = "m3r.reconstruct"
RECONSTRUCT_QUEUE = "m3r.reconstructions"
