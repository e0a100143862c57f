"""Requests to URLs that clients chose: where they may go, where they may not, and what a bad receiver can do to us: nothing."""

from __future__ import annotations

import datetime
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.adapters.guarded_addresses import AllowedNetworks
from services.adapters.guarded_http import GuardedClient, TargetFailed, TargetRefused, parse_target, resolve_name
from tests.services.webhook_receiver import receiver

LOOPBACK = AllowedNetworks(["127.0.0.0/8"])
HEADERS = {"webhook-id": "evt_1"}

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",  # metadata of cloud machines
    "100.64.0.1",  # carriers' NAT; some clouds' metadata
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:0:808:808::1",  # Teredo
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
    assert AllowedNetworks().permits(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses_are_refused_in_every_form(address: str) -> None:
    assert not AllowedNetworks().permits(address)


def test_named_networks_are_permitted_and_nothing_beside_them() -> None:
    networks = AllowedNetworks(["10.1.0.0/16", "fd00::/64"])
    assert all(networks.permits(address) for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7"))
    assert not any(networks.permits(address) for address in ("10.2.0.1", "127.0.0.1", "fd00:0:0:1::7", "64:ff9b::a01:203"))
    with pytest.raises(ValueError, match="host bits"):
        AllowedNetworks(["10.1.2.3/16"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.org/", "https"),
        ("ftp://example.org/", "https"),
        ("//example.org/", "https"),
        ("example.org", "https"),
        ("https://user:pw@example.org/", "password"),
        ("https://@example.org/", "password"),
        ("https://example.org/#part", "fragment"),
        ("https:///path", "host"),
        ("https://example.org:0/", "host"),
        ("https://exa_mple..-/", "host"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://example.org:99999/", "URL"),
        ("https://[::1", "URL"),
        ("https://example.org/a b", "blanks"),
        ("https://example.org/\r\nX: y", "blanks"),
        ("https://exämple.org/", "blanks"),
        ("https://example.org\\@10.0.0.1/", "blanks"),
        ("https://example.org/" + "a" * 2000, "2000"),
    ],
)
def test_a_url_that_is_none_of_ours_is_refused(url: str, why: str) -> None:
    with pytest.raises(TargetRefused, match=why):
        parse_target(url, allow_http=False, networks=LOOPBACK)


def test_http_is_for_the_own_loopback_or_where_the_operator_allows_it() -> None:
    assert parse_target("http://127.0.0.1:8080/x?y=1", False, LOOPBACK).path == "/x?y=1"
    assert parse_target("http://localhost/", False, LOOPBACK).port == 80
    for networks in (AllowedNetworks(), AllowedNetworks(["10.0.0.0/8"])):
        with pytest.raises(TargetRefused, match="TLS"):
            parse_target("http://localhost/", False, networks)
    assert parse_target("http://example.org/", True, AllowedNetworks()).authority == "example.org"
    assert parse_target("https://[2606:4700::1111]:8443/", False, AllowedNetworks()).authority == "[2606:4700::1111]:8443"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::ffff:7f00:1]"])
def test_the_loopback_is_not_reached_under_any_of_its_names(host: str) -> None:
    with receiver() as hook:
        client = GuardedClient(AllowedNetworks(), allow_http=True)
        with pytest.raises((TargetRefused, TargetFailed)):  # some resolvers know not every spelling
            client.post(f"http://{host}:{hook.port}/", HEADERS, b"{}", 5)
        assert hook.connections == 0


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    client = GuardedClient(AllowedNetworks(), True, resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(TargetRefused, match="not public"):
        client.post("http://mixed.example/", HEADERS, b"{}", 5)


def test_the_checked_address_is_the_one_connected_to() -> None:
    """DNS rebinding: the second answer would lead elsewhere, so there is no second question."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    with receiver() as hook:
        client = GuardedClient(AllowedNetworks(["127.0.0.1/32"]), True, resolve=resolve)
        url = f"http://rebinding.example:{hook.port}/hook?a=b"
        assert client.post(url, HEADERS, b'{"a": 1}', 5) == 200
        assert asked == ["rebinding.example"]
        (seen,) = hook.received
        assert (seen.path, seen.headers["host"]) == ("/hook?a=b", f"rebinding.example:{hook.port}")
        assert (seen.body, seen.headers["webhook-id"]) == (b'{"a": 1}', "evt_1")
        with pytest.raises(TargetRefused, match="not public"):  # the rebound answer, at the next delivery
            client.post(url, HEADERS, b"{}", 5)
        assert hook.connections == 1


def test_where_nobody_listens_at_one_address_the_next_is_tried() -> None:
    with receiver() as hook:
        client = GuardedClient(LOOPBACK, True, resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])
        assert client.post(f"http://two.example:{hook.port}/", HEADERS, b"{}", 5) == 200


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as hook, receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert GuardedClient(LOOPBACK, True).post(hook.url, HEADERS, b"{}", 5) == 200
        assert (hook.connections, proxy.connections) == (1, 0)


def test_redirects_are_not_followed() -> None:
    with receiver() as other, receiver() as hook:
        hook.script = [f"redirect {other.url}"]
        assert GuardedClient(LOOPBACK, True).post(hook.url, HEADERS, b"{}", 5) == 307
        assert other.connections == 0


@pytest.mark.parametrize("what", ["stall", "drip", "early hints"])
def test_time_runs_out_for_receivers_that_are_silent_or_drip(what: str) -> None:
    with receiver() as hook:
        hook.script = [what]
        began = time.monotonic()
        with pytest.raises(TargetFailed, match=r"no answer within 0\.8 s"):
            GuardedClient(LOOPBACK, True).post(hook.url, HEADERS, b"{}", 0.8)
        assert time.monotonic() - began < 10  # each would go on for 20 s or for ever


@pytest.mark.parametrize("what", ["close", "garbage", "endless header"])
def test_what_is_no_answer_fails(what: str) -> None:
    with receiver() as hook:
        hook.script = [what]
        with pytest.raises(TargetFailed):
            GuardedClient(LOOPBACK, True).post(hook.url, HEADERS, b"{}", 10)


def test_an_endless_body_is_not_read() -> None:
    with receiver() as hook:
        hook.script = ["flood"]
        assert GuardedClient(LOOPBACK, True).post(hook.url, HEADERS, b"{}", 10) == 200


def test_nobody_there() -> None:
    with receiver() as hook:
        pass
    with pytest.raises(TargetFailed, match="ConnectError"):
        GuardedClient(LOOPBACK, True).post(hook.url, HEADERS, b"{}", 5)
    with pytest.raises(TargetFailed, match="is not known"):
        resolve_name("no-such-name.invalid", 443)


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself for one name, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*plain))
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def test_tls_goes_to_the_address_and_keeps_the_name(tmp_path: Path) -> None:
    authority, context = certificate(tmp_path, "hooks.example")

    def client(ca_file: str | None) -> GuardedClient:
        return GuardedClient(LOOPBACK, False, ca_file, resolve=lambda host, port: ["127.0.0.1"])

    with receiver(context, "hooks.example") as hook:
        assert client(str(authority)).post(hook.url, HEADERS, b"{}", 5) == 200
        assert hook.names == ["hooks.example"]
        assert hook.received[0].headers["host"] == f"hooks.example:{hook.port}"
        with pytest.raises(TargetFailed, match="CERTIFICATE_VERIFY_FAILED"):  # the right authority, the wrong name
            client(str(authority)).post(hook.url.replace("hooks.", "other."), HEADERS, b"{}", 5)
        with pytest.raises(TargetFailed, match="CERTIFICATE_VERIFY_FAILED"):
            client(None).post(hook.url, HEADERS, b"{}", 5)
        assert len(hook.received) == 1
