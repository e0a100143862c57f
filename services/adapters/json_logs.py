"""Structured logs of every process: one JSON object a line, with what is being worked on, and without secrets.

A request's id goes into its job's record, and from there into the worker's lines: one id leads from HTTP to the last attempt.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime

# What log calls hand over as `extra`, or `log_facts` keeps; everything else of a LogRecord is the logging module's own.
FACTS = (
    "request_id",
    "tenant",
    "job_id",
    "attempt",
    "delivery_id",
    "host",
    "method",
    "path",
    "route",
    "status",
    "seconds",
    "bytes_in",
    "client",
)

_current: ContextVar[dict[str, object] | None] = ContextVar("log_facts", default=None)

_SECRETS = (
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]{8,}"), "whsec_…"),  # of webhooks
    (re.compile(r"\bm3r_[A-Za-z0-9_-]{20,}"), "m3r_…"),  # bearer keys
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), r"\1 …"),
    (re.compile(r"(://)[^/\s@\"]+@"), r"\1…@"),  # user and password of a URL
    (re.compile(r"(?i)([?&](?:sig|token|key|x-amz-[a-z-]+)=)[^&\s\"']+"), r"\1…"),  # signed links
)


@contextlib.contextmanager
def log_facts(**facts: object) -> Iterator[None]:
    """Add facts to every line that is logged within: by this task, by tasks and threads that copy its context."""
    token = _current.set({**(_current.get() or {}), **facts})
    try:
        yield
    finally:
        _current.reset(token)


def note_facts(**facts: object) -> None:
    """Add facts to the innermost `log_facts`, for all its lines from now on; outside of one nothing happens."""
    current = _current.get()
    if current is not None:
        current.update(facts)


class JsonFormatter(logging.Formatter):
    """Writes a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger, process, message, and the facts; what looks like a secret is left out."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        given = {name: getattr(record, name) for name in FACTS if getattr(record, name, None) is not None}
        line |= {name: fact for name, fact in (_current.get() or {}).items() if fact is not None} | given
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, ensure_ascii=False, default=str))


def redact(text: str) -> str:
    """Leave out what looks like a secret of ours: keys, webhook secrets, passwords in URLs, signatures of links."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def log_as_json(logger: logging.Logger, level: str) -> None:
    """Let a logger write JSON lines to standard error and nothing else; doing it again changes nothing."""
    logger.setLevel(level.upper())
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logger.handlers = [handler]
