"""What an operation asks of the outside world.

An operation is a generator of these steps and does no input or output itself, so that the blocking and the asynchronous client
run the very same logic (`run_sync.py`, `run_async.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """Send a request; the answer is a Reply, or Broken."""

    method: str
    path: str  # below the service's URL, "/v1/…"
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    silence_s: float = 60.0  # how long nothing may come
    repeatable: bool = True  # sent again also when nobody knows whether it has arrived


@dataclass(frozen=True)
class Open:
    """Send a request; the answer is a Reply, or Broken. The body of one that is no refusal is left to be read in chunks."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read on from what was opened last; the answer is bytes, None at the end, or Broken. Opening again or ending closes it."""


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call something that blocks (a file is read, say); the answer is what it returns."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Together:
    """Run several operations, at most so many at a time; the answer is the list of their results. The first error ends it."""

    operations: Sequence[Callable[[], Steps[Any]]]
    at_most: int


@dataclass(frozen=True)
class Emit:
    """Hand a value to whoever iterates over the operation."""

    value: Any


@dataclass(frozen=True)
class Reply:
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Broken:
    """The connection failed; `sent`: nobody knows what of the request has arrived."""

    reason: str
    sent: bool = True


Step = Request | Open | Read | Pause | Work | Together | Emit
Steps = Generator[Step, Any, T]
