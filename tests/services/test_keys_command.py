"""`m3r keys`: what an operator types, what comes out, and that the server goes by it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from m3r.main import app
from services.adapters.directory import DirectoryStore
from services.adapters.key_store import KeyStore
from services.adapters.link_secrets import LinkSecrets
from services.adapters.settings import Settings
from services.api import keyring
from tests.services.api_stand import open_api
from tests.services.service_stand import wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("M3R_STORE", f"dir:{tmp_path / 'objects'}")
    return tmp_path


@pytest.fixture
def store(folder: Path) -> KeyStore:
    """The store that the commands work on."""
    return KeyStore(DirectoryStore(folder / "objects"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def test_a_key_is_printed_once_and_kept_as_its_hash(store: KeyStore, folder: Path) -> None:
    result = run("create", "--tenant", "fleet", "--label", "phone 7", "--expires", "90d", "--scope", "read", "--scope", "write")
    assert result.exit_code == 0, result.stderr
    key = result.stdout.strip()
    assert re.fullmatch(r"m3r_[A-Za-z0-9_-]{43}", key)  # 256 bits
    (record,) = store.list()
    assert record.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert (record.tenant, record.label, record.scopes) == ("fleet", "phone 7", ["read", "write"])
    assert record.expires_at is not None
    assert abs(record.expires_at - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert key not in result.stderr
    assert all(key.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert record.id in result.stderr


def test_two_keys_differ(store: KeyStore) -> None:
    assert run("create").stdout != run("create").stdout
    assert all((record.tenant, record.scopes) == ("default", ["localize", "read", "write"]) for record in store.list())


def test_keys_are_listed_and_revoked(store: KeyStore) -> None:
    key = run("create", "--tenant", "fleet").stdout.strip()
    run("create", "--tenant", "other", "--expires", "12h")
    shown = run("list").stdout
    assert key not in shown
    assert hashlib.sha256(key.encode()).hexdigest() not in shown
    assert shown.count("is good") == 2
    (record,) = store.list("fleet")
    assert record.id in shown
    for _ in range(2):  # revoking twice is no error
        assert run("revoke", record.id).exit_code == 0
    found = store.find(record.sha256)
    assert found is not None
    assert found.revoked_at is not None
    lines = [json.loads(line) for line in run("list", "--json", "--tenant", "fleet").stdout.splitlines()]
    assert [line["id"] for line in lines] == [record.id]
    assert "sha256" not in lines[0]
    assert "was revoked" in run("list").stdout


def test_the_folder_of_serve_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("M3R_STORE")
    assert run("create", "--data", "served").exit_code == 0
    assert len(list(KeyStore(DirectoryStore(folder / "served" / "objects")).list())) == 1


def test_a_full_disk_keeps_no_key_from_being_revoked(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = store.create("fleet", ["read"])
    monkeypatch.setenv("M3R_MIN_FREE_DISK_BYTES", str(2**62))
    assert run("revoke", record.id).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "--tenant", "A b"), "cannot name a tenant"),
        (("create", "--tenant", "../x"), "cannot name a tenant"),
        (("create", "--scope", "root"), "admin, localize, read, write"),
        (("create", "--expires", "soon"), "30m, 12h, 90d"),
        (("create", "--expires", "2001-01-01"), "is over already"),
        (("create", "--expires", "999999w"), "30m, 12h, 90d"),
        (("revoke", "key_0"), "m3r keys list"),
        (("tenant", "fleet", "--max-jobs", "many"), "is no amount"),
        (("tenant", "fleet", "--rate", "write=fast"), "600/minute"),
        (("tenant", "fleet", "--rate", "write=1/day;2/day"), "600/minute"),
        (("tenant", "fleet", "--rate", "60/minute"), "there is no scope"),
    ],
)
def test_mistakes_are_named_in_one_line(arguments: tuple[str, ...], words: str, store: KeyStore) -> None:
    assert words in refused(*arguments)
    assert list(store.list()) == []


def test_a_store_that_is_no_store(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("M3R_STORE", "ftp:somewhere")
    assert "dir:FOLDER or s3://BUCKET" in refused("list")
    (folder / "file").write_text("")
    monkeypatch.setenv("M3R_STORE", f"dir:{folder / 'file' / 'objects'}")
    assert "failed" in refused("create")


def test_what_a_tenant_may_use(store: KeyStore) -> None:
    shown = run("tenant", "fleet", "--max-jobs", "20", "--max-bytes", "500GB", "--rate", "write=60/minute")
    assert shown.exit_code == 0, shown.stderr
    record = store.tenant("fleet")
    assert json.loads(shown.stdout) == record.model_dump()
    assert (record.max_jobs, record.max_bytes, record.rates) == (20, 500 * 10**9, {"write": "60/minute"})
    run("tenant", "fleet", "--max-jobs", "none", "--rate", "read=none")
    record = store.tenant("fleet")
    assert (record.max_jobs, record.max_bytes, record.rates) == (None, 500 * 10**9, {"write": "60/minute", "read": "none"})
    assert run("tenant", "new").exit_code == 0
    assert [each.name for each in store.tenants()] == ["fleet"]  # asking writes nothing


def test_rotated_secrets_sign_from_then_on(folder: Path) -> None:
    secrets = LinkSecrets(DirectoryStore(folder / "objects"))
    first = secrets.current()
    assert run("rotate-links").exit_code == 0
    assert [secret.id for secret in secrets.all()][1:] == [first.id]
    assert run("rotate-links", "--now").exit_code == 0
    assert len(secrets.all()) == 1


def test_a_server_that_runs_goes_by_what_was_typed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "FRESH_S", 0.2)
    monkeypatch.setenv("M3R_STORE", settings.store)
    with open_api(settings) as api:
        assert api.http.get("/v1/info").status_code == 200
        key = run("create", "--tenant", "fleet").stdout.strip()
        wait_for(lambda: api.http.get("/v1/info").status_code == 401, 5, "the end of the open service")
        api.http.headers["Authorization"] = f"Bearer {key}"
        assert api.http.post("/v1/captures").status_code == 201
        run("tenant", "fleet", "--rate", "write=1/hour")
        wait_for(lambda: api.http.post("/v1/captures").status_code == 429, 5, "the rate")
        run("revoke", run("list").stdout.split()[0])
        wait_for(lambda: api.http.get("/v1/info").status_code == 401, 5, "the revocation")


def test_the_command_never_loads_torch() -> None:
    code = "import sys; from m3r.main import main; sys.argv = ['m3r', 'keys', 'create']\ntry: main()\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules or 'mast3r_engine' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
