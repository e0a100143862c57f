"""Write `docs/limits.md` from the defaults of the settings and the constants of the interface.

python docs/scripts/write_limits.py > docs/limits.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from services.adapters.idempotency import KEPT_MS
from services.adapters.settings import ENVIRONMENT_PREFIX, Settings
from services.adapters.upload_store import OPEN_AT_MOST
from services.api.photos import MAX_ASPECT, MIN_PHOTO_SIDE, PHOTO_FORMATS
from services.api.routes.limits import MAX_PAGE, MAX_WAIT_S
from services.api.submission_form import MAX_DEADLINE_S, MAX_LABEL_CHARACTERS, MAX_LABELS

HEAD = """\
# Limits

These are the defaults. A running service tells its own at `GET /v1/info`, under the name in the third column; its operator
changes them with the setting in the fourth (an environment variable), where there is one. A request beyond a limit is refused
with a problem that names the limit, before the bytes are read where that can be known
([`too_large`](troubleshooting.md#too_large), [`too_many_images`](troubleshooting.md#too_many_images)).
This page is written from the settings; `docs/scripts/write_limits.py` does it.
"""


class Row(NamedTuple):
    """A limit: what it bounds, its value as people read it, its name in `GET /v1/info` and its setting."""

    what: str
    value: str
    info: str = ""
    setting: str = ""


def main() -> None:
    """Print the page."""
    sys.stdout.write(limits_page())


def limits_page() -> str:
    """The whole page."""
    parts = {
        "Photographs and jobs": PHOTOGRAPHS,
        "Localisation": LOCALISATION,
        "How long things are kept": RETENTION,
        "Each tenant": TENANT,
    }
    return HEAD + "".join(f"\n## {title}\n\n{table(rows)}" for title, rows in parts.items()) + FOOT


def table(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = ["| what | default | in `/v1/info` | setting |", "|---|---|---|---|"]
    for row in rows:
        setting = f"`{ENVIRONMENT_PREFIX}{row.setting.upper()}`" if row.setting else ""
        lines.append(f"| {row.what} | {row.value} | {f'`{row.info}`' if row.info else ''} | {setting} |")
    return "\n".join(lines) + "\n"


def of(setting: str, what: str, unit: str, info: str = "") -> Row:
    """A limit that is a setting."""
    return Row(what, _worded(Settings.model_fields[setting].default, unit), info, setting)


def _worded(value: Any, unit: str) -> str:
    if value is None or value == {}:
        return "none"
    if unit == "bytes":
        return _bytes(value)
    return f"{value:,.10g}".replace(",", " ") + (f" {unit}" if unit else "")


def _bytes(count: int) -> str:
    for size, name in ((2**30, "GiB"), (2**20, "MiB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size and count % size == 0:
            return f"{count // size} {name}"
    return f"{count} bytes"


def _formats() -> str:
    return ", ".join(PHOTO_FORMATS)


PHOTOGRAPHS = [
    of("max_photos", "photographs of a job or a capture", "", "limits.max_photos"),
    of("max_photo_bytes", "one photograph", "bytes", "limits.max_photo_bytes"),
    of("max_capture_bytes", "all photographs of a capture", "bytes", "limits.max_capture_bytes"),
    of("max_photo_pixels", "pixels of one photograph", "", "limits.max_photo_pixels"),
    Row("shortest side of a photograph", f"{MIN_PHOTO_SIDE} pixels", "limits.min_photo_side"),
    Row("long side over short side", f"at most {MAX_ASPECT}"),
    Row("formats", _formats(), "limits.photo_formats"),
    of("max_archive_entries", "entries of an archive", "", "limits.max_archive_entries"),
    of("max_archive_ratio", "bytes an archive holds for each byte it has", ""),
    of("job_time_limit_s", "time a job may compute", "s", "limits.job_time_limit_s"),
    of("max_attempts", "attempts of a job whose worker is lost", ""),
    Row("`deadline_s` of a job", f"{MAX_DEADLINE_S // 86_400} days"),
    Row("`labels` of a job", f"{MAX_LABELS}, of {MAX_LABEL_CHARACTERS} characters"),
    Row("`wait` of a long poll", f"{MAX_WAIT_S} s", "limits.max_wait_s"),
    Row("entries of one page of a list", str(MAX_PAGE)),
    Row("direct uploads of one capture that are open", str(OPEN_AT_MOST)),
]
LOCALISATION = [
    of("max_references", "references of one query", "", "limits.localisation.max_references"),
    of("localisation_max_photo_bytes", "one photograph of a query", "bytes", "limits.localisation.max_photo_bytes"),
    of("localisation_max_query_bytes", "a query with its references", "bytes", "limits.localisation.max_query_bytes"),
    of("localisation_max_query_pixels", "pixels of all its photographs together", "", "limits.localisation.max_query_pixels"),
    of("localisation_deadline_ms", "time for an answer, if the query names none", "ms", "limits.localisation.deadline_ms"),
    of("localisation_max_deadline_ms", "longest time that it may name", "ms", "limits.localisation.max_deadline_ms"),
    of("localisation_max_waiting", "queries that wait", ""),
    of("max_kept_references", "references that a tenant keeps", "", "limits.localisation.max_kept_references"),
    of("max_kept_maps", "maps that a tenant keeps", "", "limits.localisation.max_kept_maps"),
]
RETENTION = [
    of("retention_days", "a job and its results, after it has ended", "days", "retention.job_days"),
    of("capture_expiry_h", "a capture of which no job was made", "hours", "retention.capture_hours"),
    of("reference_retention_days", "a reference", "days", "retention.reference_days"),
    of("map_retention_days", "a map", "days", "retention.map_days"),
    of("upload_expiry_s", "URLs for direct upload", "s"),
    of("signed_link_s", "signed links", "s"),
    of("tombstone_days", "the answer 410 for what was deleted", "days"),
    Row("an `Idempotency-Key`", f"{KEPT_MS // 3_600_000} hours"),
]
TENANT = [
    of("max_tenant_jobs", "jobs that wait or run", "", "tenant.max_jobs"),
    of("max_tenant_photos", "photographs kept", "", "tenant.max_photos"),
    of("max_tenant_bytes", "photographs and results kept", "bytes", "tenant.max_bytes"),
    of("rates", "requests by scope", "", "tenant.rates"),
]
FOOT = """
`m3r keys tenant` says otherwise for a single tenant: [Keys](keys.md). Webhooks, the queue and the stores have settings of their
own: [Webhooks](webhooks.md), [Queue](queue.md); all of them are in `services/adapters/settings.py`.
"""


if __name__ == "__main__":
    main()
