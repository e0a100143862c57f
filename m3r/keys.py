"""`m3r keys`: make, list and revoke bearer keys; say what a tenant may use. Works on the store that the server uses."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.adapters.key_store import KeyStore
    from services.adapters.objects import ObjectStore
    from services.contract.access import Scope

keys_app = typer.Typer(no_args_is_help=True, help="Make and revoke the keys that requests carry; say what a tenant may use.")

DataFolder = Annotated[Path, typer.Option(help="The folder `m3r serve` was given; `M3R_STORE` in the environment goes first.")]
TenantOption = Annotated[str, typer.Option(help="Whose resources the key opens; small letters, digits, - and _.")]
Amount = Annotated[str | None, typer.Option(help="A number, `50GB` say; `none`: as the settings say.")]

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
DEFAULT_DATA = Path("m3r-data")


class KeyCommandError(Exception):
    """What was asked for cannot be done; the message says why and what can."""


@keys_app.command()
def create(
    tenant: TenantOption = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write, localize, admin; repeat it. Default: all but admin.")
    ] = None,
    label: Annotated[str, typer.Option(help="What the key is for, for `m3r keys list`.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="When it ends: `90d`, `12h`, or a date `2027-01-31`. Default: never.")
    ] = None,
    data: DataFolder = DEFAULT_DATA,
) -> None:
    """Make a key and print it, this once. A server that runs knows it within seconds and wants a key from then on.

    Example: `m3r keys create --tenant fleet --label "phone 7" --expires 90d`.
    """
    with _errors(), _open(data) as objects:
        from services.adapters.key_store import KeyStore

        _check_tenant(tenant)
        key, record = KeyStore(objects).create(tenant, _scopes(scope), label, _end(expires, datetime.now(UTC)))
        until = record.expires_at.isoformat(timespec="seconds") if record.expires_at else "for ever"
        typer.echo(f"{record.id} of tenant {tenant} may {', '.join(record.scopes)}; good until {until}. Keep it:", err=True)
        typer.echo(key)


@keys_app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="This tenant's alone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    data: DataFolder = DEFAULT_DATA,
) -> None:
    """List the keys, the oldest first. The keys themselves are not kept, only their SHA-256.

    Example: `m3r keys list --tenant fleet`.
    """
    with _errors(), _open(data) as objects:
        from services.adapters.key_store import KeyStore

        records = sorted(KeyStore(objects).list(tenant), key=lambda record: record.created_at)
        for record in records:
            state = record.fault(datetime.now(UTC)) or "is good"
            line = f"{record.id}  {record.tenant:16} {','.join(record.scopes):26} {state}  {record.label}"
            typer.echo(record.model_dump_json(exclude={"sha256"}) if as_json else line.rstrip())
        if not records:
            typer.echo("there are no keys", err=True)


@keys_app.command()
def revoke(
    key_id: Annotated[list[str], typer.Argument(help="`key_…`, as `m3r keys list` shows it.")],
    data: DataFolder = DEFAULT_DATA,
) -> None:
    """Make keys worthless; servers that run refuse them within seconds. Links that were signed before end by themselves.

    Example: `m3r keys revoke key_0123456789abcdef`.
    """
    with _errors(), _open(data) as objects:
        from services.adapters.key_store import KeyStore

        for each in key_id:
            typer.echo(f"{KeyStore(objects).revoke(each).id} is revoked", err=True)


@keys_app.command()
def tenant(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    max_jobs: Amount = None,
    max_photos: Amount = None,
    max_bytes: Amount = None,
    rate: Annotated[list[str] | None, typer.Option(help="SCOPE=RATE, `write=60/minute`; `write=none` lifts the limit.")] = None,
    data: DataFolder = DEFAULT_DATA,
) -> None:
    """Say what a tenant may use where it differs from the settings, and print all that is said of it.

    Jobs are those that wait or run; photographs and bytes are those that are kept. Servers that run follow within seconds.

    Example: `m3r keys tenant fleet --max-jobs 20 --max-bytes 500GB --rate write=60/minute`.
    """
    with _errors(), _open(data) as objects:
        from services.adapters.key_store import KeyStore

        _check_tenant(name)
        store = KeyStore(objects)
        amounts = {"max_jobs": max_jobs, "max_photos": max_photos, "max_bytes": max_bytes}
        changes = {field: _amount(text) for field, text in amounts.items() if text is not None}
        if changes or rate:
            _change(store, name, changes, dict(_rate(text) for text in rate or []))
        typer.echo(json.dumps(store.tenant(name).model_dump()))


@keys_app.command("rotate-links")
def rotate_links(
    now: Annotated[bool, typer.Option("--now", help="End all links that were handed out, within half a minute.")] = False,
    data: DataFolder = DEFAULT_DATA,
) -> None:
    """Sign links with a new secret. Those handed out stay good for their short time, unless `--now`.

    Example: `m3r keys rotate-links --now`, when a link got into wrong hands.
    """
    with _errors(), _open(data) as objects:
        from services.adapters.link_secrets import LinkSecrets

        secret = LinkSecrets(objects).rotate(older=now)
        typer.echo(f"links are signed with secret {secret.id} from now on", err=True)


@keys_app.command("webhook-secret")
def webhook_secret(tenant: TenantOption = "default", data: DataFolder = DEFAULT_DATA) -> None:
    """Print the secret that signs a tenant's webhooks where the job named none of its own.

    It follows from `M3R_WEBHOOK_KEY`, which must be the server's, or from the key that the store keeps.
    """
    with _errors(), _open(data) as objects:
        from services.adapters.settings import Settings
        from services.adapters.webhook_secrets import WebhookSecrets

        _check_tenant(tenant)
        typer.echo(WebhookSecrets(Settings(), objects).of_tenant(tenant))


@contextlib.contextmanager
def _open(data: Path) -> Iterator[ObjectStore]:
    """Open the store that `m3r serve --data` would use. A full disk must not keep a key from being revoked."""
    from services.adapters.objects import open_store
    from services.adapters.settings import Settings

    os.environ.setdefault("M3R_STORE", f"dir:{(data / 'objects').resolve()}")
    yield open_store(Settings().model_copy(update={"min_free_disk_bytes": 0}))


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """One line and exit 1 for what can go wrong."""
    from services.adapters.key_store import KeyNotFound
    from services.adapters.objects import ObjectStoreError

    try:
        yield
    except KeyNotFound as error:
        _fail(f"{error}; see 'm3r keys list'")
    except ObjectStoreError as error:
        _fail(f"the store {os.environ['M3R_STORE']} failed: {error}")
    except (KeyCommandError, ValueError) as error:
        _fail(str(error))


def _fail(message: str) -> None:
    typer.secho(f"error: {message}", fg="red", err=True)
    raise typer.Exit(1) from None


def _change(store: KeyStore, name: str, amounts: dict[str, int | None], rates: dict[Scope, str]) -> None:
    record = store.tenant(name)
    store.set_tenant(record.model_copy(update={**amounts, "rates": {**record.rates, **rates}}))


def _check_tenant(name: str) -> None:
    from services.contract.access import TENANT_PATTERN

    if not re.fullmatch(TENANT_PATTERN, name):
        raise KeyCommandError(f"{name!r} cannot name a tenant: 1 to 63 small letters, digits, - or _, a letter or digit first")


def _scopes(names: list[str] | None) -> list[Scope]:
    from services.contract.access import ALL_SCOPES, DEFAULT_SCOPES

    wrong = [name for name in names or [] if name not in ALL_SCOPES]
    if wrong:
        raise KeyCommandError(f"there is no scope {wrong[0]!r}; there are {', '.join(sorted(ALL_SCOPES))}")
    return [scope for scope in sorted(ALL_SCOPES) if scope in (names or DEFAULT_SCOPES)]


def _end(text: str | None, now: datetime) -> datetime | None:
    """Read "90d", "12h" or a date (UTC)."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    try:
        end = now + int(found[1]) * _UNITS[found[2]] if found else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise KeyCommandError(f"--expires {text!r}: it must be like 30m, 12h, 90d, 4w, or a date like 2027-01-31") from None
    end = end.replace(tzinfo=end.tzinfo or UTC)
    if end <= now:
        raise KeyCommandError(f"--expires {text!r} is over already")
    return end


def _amount(text: str) -> int | None:
    if text == "none":
        return None
    found = re.fullmatch(r"(\d{1,15})\s*([kmgt]?)b?", text.lower())
    if found is None:
        raise KeyCommandError(f"{text!r} is no amount; write a number, 500MB, 50GB, or none")
    return int(found[1]) * _BYTES[found[2]]


def _rate(text: str) -> tuple[Scope, str]:
    """Read "write=60/minute"."""
    from services.adapters.rates import parse_rate

    name, _, rate = text.partition("=")
    (scope,) = _scopes([name])
    if rate != "none":
        parse_rate(rate)
    return scope, rate
