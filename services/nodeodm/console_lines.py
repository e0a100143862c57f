"""What a task's console would show: one line a step and a stage of its job, from the job's events. Lines are only ever added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.contract.events import JobEvent
from services.contract.jobs import JobRecord
from services.contract.states import JobStatus


def console_lines(record: JobRecord, events: Iterable[JobEvent], unread: list[str]) -> list[str]:
    """Write a job's story; `unread`: files that came with the task and are not used."""
    lines = [f"[{record.created_at:%H:%M:%S}] {len(record.images)} images, preset {record.preset}"]
    lines += [f"[WARNING] {name} was not read: it has no meaning here" for name in unread]
    lines += _steps(events)
    if not record.terminal:
        return lines
    lines += [f"[WARNING] {warning}" for warning in record.warnings]
    if record.error is not None:
        lines.append(f"[ERROR] {record.error.code.value}: {record.error.message}")
    if record.status is JobStatus.SUCCEEDED and record.result is not None:
        metrics = record.result.metrics
        lines += [f"{stage}: {seconds:.2f} s" for stage, seconds in metrics.stage_seconds.items()]
        lines.append(f"{metrics.images_used} of {metrics.images_total} images registered, {metrics.points or 0} points")
        lines += [f"{file.name}: {file.bytes} bytes" for file in record.result.artifacts]
    lines.append(f"the task has ended: {record.status.value}")
    return lines


def cut_lines(lines: list[str], first: int) -> list[str]:
    """The lines from number `first` on; a negative number: so many at the end."""
    return lines[first:] if first >= 0 else lines[max(len(lines) + first, 0) :]


def _steps(events: Iterable[JobEvent]) -> Iterator[str]:
    stage = None
    for event in events:
        if event.event == "status":
            stage = None
            if not event.data.get("terminal"):
                yield f"status: {event.data.get('status')} (attempt {event.data.get('attempt')})"
        elif event.data.get("stage") != stage:
            stage = event.data.get("stage")
            yield f"stage: {stage} ({event.data.get('fraction', 0):.0%} of all)"
