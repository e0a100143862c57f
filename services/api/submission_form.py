"""The text parts of a one-shot submission: what is asked for, beside the photographs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, get_args

from services.api.options_check import check_options
from services.api.problems import invalid_field
from services.contract.jobs import Preset
from services.contract.outputs import OUTPUTS
from services.contract.webhooks import Webhook

TEXT_FIELDS = ("options", "preset", "outputs", "labels", "strict_images", "deadline_s", "webhook", "cameras")
MAX_DEADLINE_S = 30 * 86_400
MAX_LABELS = 32
MAX_LABEL_CHARACTERS = 200
DEFAULT_PRESET: Preset = "balanced"
PRESETS: tuple[Preset, ...] = get_args(Preset)


@dataclass(frozen=True)
class JobRequest:
    """What a job is to do."""

    preset: Preset = DEFAULT_PRESET
    options: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    strict_images: bool = False
    deadline_s: float | None = None  # from acceptance; a job that has not ended by then is ended
    webhook: Webhook | None = None  # as the record keeps it


def read_form(fields: dict[str, list[str]], webhook: Webhook | None = None) -> JobRequest:
    """Read the text parts but for `webhook`, which was admitted before, and `cameras`, which is no wish.

    Raises ProblemError that points to the wrong one.
    """
    for name, values in fields.items():
        if len(values) > 1 and name != "outputs":
            raise invalid_field(f"/{name}", f"given {len(values)} times")
    return JobRequest(
        preset=_preset(fields.get("preset", [""])[0]),
        options=check_options(fields["options"][0]) if any(fields.get("options", [])) else {},
        outputs=_outputs(fields.get("outputs", [])),
        labels=_labels(fields.get("labels", [""])[0]),
        strict_images=_flag("strict_images", fields.get("strict_images", [""])[0]),
        deadline_s=_deadline(fields.get("deadline_s", [""])[0]),
        webhook=webhook,
    )


def _preset(text: str) -> Preset:
    for preset in PRESETS:
        if text in (preset, "") and (text or preset == DEFAULT_PRESET):
            return preset
    raise invalid_field("/preset", f"{text[:50]!r}; it must be one of {', '.join(PRESETS)}")


def _outputs(values: list[str]) -> list[str]:
    """A JSON list, or names separated by commas, or the part repeated."""
    names: list[str] = []
    for value in values:
        if value.lstrip().startswith("["):
            listed = _json("outputs", value)
            if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
                raise invalid_field("/outputs", "a list of names is wanted")
            names += listed
        else:
            names += [name.strip() for name in value.split(",") if name.strip()]
    for at, name in enumerate(names):
        if name not in OUTPUTS:
            raise invalid_field(f"/outputs/{at}", f"{name[:50]!r} is not known; known: {', '.join(OUTPUTS)}")
    return list(dict.fromkeys(names))


def _labels(text: str) -> dict[str, str]:
    labels = _json("labels", text) if text.strip() else {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise invalid_field("/labels", 'a JSON object of texts is wanted, such as {"site": "north"}')
    if len(labels) > MAX_LABELS:
        raise invalid_field("/labels", f"{len(labels)} labels; the limit is {MAX_LABELS}")
    for name, value in labels.items():
        if not name or "=" in name or max(len(name), len(value)) > MAX_LABEL_CHARACTERS or not (name + value).isprintable():
            wanted = f"a name without '=', name and value printable and of at most {MAX_LABEL_CHARACTERS} characters"
            raise invalid_field("/labels", f"{name[:50]!r}: {wanted}")
    return labels


def _flag(name: str, text: str) -> bool:
    values = {"": False, "false": False, "0": False, "true": True, "1": True}
    if text.lower() not in values:
        raise invalid_field(f"/{name}", f"{text[:50]!r}; it must be true or false")
    return values[text.lower()]


def _deadline(text: str) -> float | None:
    try:
        seconds = float(text) if text.strip() else None
    except ValueError:
        seconds = 0.0
    if seconds is not None and not 0 < seconds <= MAX_DEADLINE_S:  # not true of nan either
        raise invalid_field("/deadline_s", f"{text[:50]!r}; it must be seconds, more than 0 and at most {MAX_DEADLINE_S}")
    return seconds


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_field(f"/{name}", f"not JSON: {error}") from None
