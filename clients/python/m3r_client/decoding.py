"""From JSON to frozen dataclasses: what is not known is passed over, so that a newer service does not break an older client."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from m3r_client.errors import UnexpectedAnswer

T = TypeVar("T")


def decode(kind: type[T], document: object) -> T:
    """Read a dataclass from a JSON object.

    Raises:
        UnexpectedAnswer: a field that has no default is missing, or a value is of another type; names the field.
    """
    return kind(**_fields_of(kind, document, kind.__name__))


def _fields_of(kind: type[Any], document: object, place: str) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise UnexpectedAnswer(f"{place} is {type(document).__name__}; a JSON object is wanted")
    hints = get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        if field.name in document:
            values[field.name] = _read(hints[field.name], document[field.name], f"{place}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UnexpectedAnswer(f"{place}.{field.name} is missing")
    return values


def _read(hint: Any, value: Any, place: str) -> Any:
    """Read a value of one of the few types that answers have."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(next(each for each in inner if each is not type(None)), value, place)
    if origin is tuple:
        return tuple(_read(inner[0], each, f"{place}[{at}]") for at, each in enumerate(_require(list, value, place)))
    if origin is Mapping:
        return {name: _read(inner[1], each, f"{place}.{name}") for name, each in _require(dict, value, place).items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint(**_fields_of(hint, value, place))
    if hint is datetime:
        return _read_time(value, place)
    if hint is float:
        return float(_require((int, float), value, place))
    return value if hint is Any else _require(hint, value, place)


def _read_time(value: object, place: str) -> datetime:
    try:
        return datetime.fromisoformat(_require(str, value, place))
    except ValueError:
        raise UnexpectedAnswer(f"{place} is {value!r}; a time (RFC 3339) is wanted") from None


def _require(kind: Any, value: object, place: str) -> Any:
    if not isinstance(value, kind):
        raise UnexpectedAnswer(f"{place} is {str(value)[:50]!r}; {getattr(kind, '__name__', 'a number')} is wanted")
    return value
