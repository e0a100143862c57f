"""Structured logs: one JSON object a line on standard error, each with the id of the request it belongs to."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

ACCESS_LOG = logging.getLogger("services.api.access")
ERROR_LOG = logging.getLogger("services.api.errors")

# Facts that log calls hand over as `extra`; everything else of a LogRecord is the logging module's own.
_FACTS = ("request_id", "job_id", "method", "path", "route", "status", "seconds", "bytes_in", "client")


class JsonFormatter(logging.Formatter):
    """Writes a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger, message, and the facts that were handed over."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FACTS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(level: str) -> None:
    """Send the logs of the service, and the server's own, to standard error as JSON lines. Doing it again changes nothing."""
    logging.captureWarnings(True)  # Pillow warns of odd metadata
    for name in ("services", "m3r", "uvicorn", "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        logger.propagate = False
        if not any(isinstance(handler.formatter, JsonFormatter) for handler in logger.handlers):
            handler = logging.StreamHandler()
            handler.setFormatter(JsonFormatter())
            logger.handlers = [handler]
    logging.getLogger("uvicorn.access").disabled = True  # one line a request is enough, and ours has the request id
