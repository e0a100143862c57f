"""The receiver in docs/webhooks.md, run as it stands there against the service, and the command that prints a tenant's secret."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from m3r.keys import keys_app
from services.adapters.objects import open_store
from services.adapters.settings import Settings
from services.adapters.webhook_secrets import WebhookSecrets
from tests.services.api_stand import good_photos, open_api
from tests.services.service_stand import wait_for

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"


@pytest.fixture
def documented() -> Iterator[tuple[str, dict[str, Any]]]:
    """The documented receiver at work: its URL and its names."""
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(program, str(DOCUMENT), "exec"), names)
    server = HTTPServer(("127.0.0.1", 0), names["Receiver"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", names
    server.shutdown()
    server.server_close()


def test_the_documented_receiver_verifies_and_knows_what_it_has_seen(
    settings: Settings, documented: tuple[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, names = documented
    settings = settings.model_copy(update={"webhook_allowed_networks": ("127.0.0.0/8",)})
    with open_api(settings) as api:
        webhook = json.dumps({"url": url, "secret": names["SECRET"], "events": ["job.running", "job.succeeded"]})
        job = api.submit(*good_photos(2), webhook=webhook).json()
        api.finish(job["id"])

        def delivered() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = api.http.get(job["links"]["deliveries"]).json()["items"]
            return items if [each["status"] for each in items] == ["delivered"] * 2 else []

        items = wait_for(delivered, what="both deliveries")
        assert names["seen"] == {each["id"] for each in items}
        assert names["newest"] == {job["id"]: 2}
        api.http.post(f"{job['links']['deliveries']}/{items[0]['id']}/redeliver")
        wait_for(lambda: (now := delivered()) and now[0]["attempts"] == 2, what="the redelivery")
    assert capsys.readouterr().out.splitlines() == [f"job.running {job['id']}", f"job.succeeded {job['id']}"]
    forged = httpx.post(url, json={"type": "job.succeeded"}, headers={"webhook-id": "x", "webhook-timestamp": "1"})
    assert forged.status_code == 401


def test_the_command_prints_the_secret_that_signs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3R_STORE", settings.store)
    printed = CliRunner().invoke(keys_app, ["webhook-secret", "--tenant", "north"])
    assert printed.exit_code == 0, printed.output
    secret = printed.stdout.strip()
    assert secret == WebhookSecrets(settings, open_store(settings)).of_tenant("north")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    assert CliRunner().invoke(keys_app, ["webhook-secret", "--tenant", "No!"]).exit_code == 1
