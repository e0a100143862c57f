"""The API's logs: JSON lines on standard error, each with the id of the request it belongs to; see `json_logs`."""

from __future__ import annotations

import logging

from services.adapters.json_logs import log_as_json

ACCESS_LOG = logging.getLogger("services.api.access")
ERROR_LOG = logging.getLogger("services.api.errors")


def configure_logs(level: str) -> None:
    """Send the logs of the service, and the server's own, to standard error. Doing it again changes nothing."""
    logging.captureWarnings(True)  # Pillow warns of odd metadata
    for name in ("services", "m3r", "uvicorn", "py.warnings"):
        logger = logging.getLogger(name)
        logger.propagate = False
        log_as_json(logger, level)
    logging.getLogger("uvicorn.access").disabled = True  # one line a request is enough, and ours has the request id
