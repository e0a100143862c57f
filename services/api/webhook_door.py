"""A submission's `webhook`, checked before anything is accepted: its form, its URL, the address that it leads to, its secret."""

from __future__ import annotations

import json

import anyio
from anyio import CapacityLimiter, to_thread
from pydantic import ValidationError

from services.adapters.guarded_addresses import AllowedNetworks
from services.adapters.guarded_http import Resolve, TargetFailed, TargetRefused, checked_addresses, parse_target, resolve_name
from services.adapters.settings import Settings
from services.adapters.webhook_secrets import WebhookSecrets, is_secret
from services.api.problems import ProblemError, invalid_field, json_pointer
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError
from services.contract.webhooks import Webhook, WebhookRequest

THREADS = 4  # of its own: a slow resolver keeps nothing else waiting
RESOLVE_WITHIN_S = 3.0


class WebhookDoor:
    """Lets webhooks in."""

    def __init__(self, settings: Settings, secrets: WebhookSecrets, resolve: Resolve = resolve_name) -> None:
        self._settings = settings
        self._secrets = secrets
        self._networks = AllowedNetworks(settings.webhook_allowed_networks)
        self._resolve = resolve
        self._threads = CapacityLimiter(THREADS)

    async def admit(self, asked: WebhookRequest | None, tenant: str) -> Webhook | None:
        """Check what a client asks for and give what the job's record keeps of it, its secret sealed.

        A name that is not known, or not in time, is let in: it is resolved and checked again at every delivery.

        Raises:
            ProblemError: webhook_refused or invalid_request (422), with a pointer to what is wrong.
            ObjectStoreError: the key that seals secrets cannot be read.
        """
        if asked is None:
            return None
        with anyio.move_on_after(RESOLVE_WITHIN_S):
            await to_thread.run_sync(self._check_url, asked.url, limiter=self._threads, abandon_on_cancel=True)
        return await to_thread.run_sync(self._seal, asked, tenant, limiter=self._threads)

    def _check_url(self, url: str) -> None:
        try:
            checked_addresses(parse_target(url, self._settings.webhook_allow_http, self._networks), self._networks, self._resolve)
        except TargetRefused as error:
            raise invalid_field("/webhook/url", str(error), ProblemCode.WEBHOOK_REFUSED) from None
        except TargetFailed:
            return

    def _seal(self, asked: WebhookRequest, tenant: str) -> Webhook:
        events = list(dict.fromkeys(asked.events))
        if asked.secret is None:
            return Webhook(url=asked.url, events=events)
        secret = asked.secret.get_secret_value()
        if not is_secret(secret):
            raise invalid_field("/webhook/secret", "it must be 'whsec_' and 24 to 64 bytes in base64")
        return Webhook(url=asked.url, events=events, sealed_secret=self._secrets.seal(secret, tenant))


def read_webhook(text: str) -> WebhookRequest | None:
    """Read the part `webhook` of a form, JSON; raises ProblemError. What was given is not repeated in the refusal."""
    if not text.strip():
        return None
    try:
        return WebhookRequest.model_validate(json.loads(text), strict=True)
    except ValidationError as error:
        errors = [FieldError(pointer="/webhook" + json_pointer(e["loc"]), message=str(e["msg"])) for e in error.errors()]
        detail = "; ".join(f"{e.pointer.lstrip('/')}: {e.message}" for e in errors)
        raise ProblemError(422, ProblemCode.INVALID_REQUEST, detail, errors) from None
    except (ValueError, RecursionError):
        raise invalid_field("/webhook", "not JSON") from None
