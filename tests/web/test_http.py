"""The HTTP client, against a real server that misbehaves."""

from __future__ import annotations

import gzip
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.fake_http import FAULTS, Answer, FakeClock, FakeService
from tunesmith.connectors.receipt import Receipt
from tunesmith.errors import UserError
from tunesmith.web.addresses import checked, is_public, origin_of
from tunesmith.web.http import Client, Limits, credential
from tunesmith.web.replies import HttpFault
from tunesmith.web.waiting import StoppableClock, Stopped, TokenBucket, retry_after

FAST = Limits(rate=1e6, burst=1000)


class Scripted(FakeService):
    """Answers by path; everything else is 404."""

    def __init__(self, clock: FakeClock | None = None, faults: Mapping[int, str] | None = None) -> None:
        self.paths: dict[str, Callable[[Mapping[str, str], Mapping[str, str]], Answer]] = {}
        self.seen: list[Mapping[str, str]] = []
        super().__init__(clock, faults)

    def answer(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Answer:
        self.seen.append(headers)
        if path in self.paths:
            return self.paths[path](query, headers)
        return 404, {"code": "object_not_found", "message": "Nothing here."}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[Scripted]:
    made = Scripted(clock)
    made.paths["/ok"] = lambda query, _: (200, {"asked": dict(query)})
    yield made
    made.stop()


@pytest.fixture
def client(server: Scripted, clock: FakeClock) -> Iterator[Client]:
    made = Client(server.base, FAST, headers={"Authorization": "Bearer secret"}, clock=clock)
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_says_later_is_asked_again(server: Scripted, client: Client, clock: FakeClock, fault: str) -> None:
    server.faults = {1: fault, 2: fault}
    assert client.get("ok", {"a": "ü&b", "none": None, "many": ["1", "2"]}) == {"asked": {"a": "ü&b", "many": "2"}}
    assert client.tally.requests == len(server.log) == 3
    assert client.tally.repeated.total() == 2
    assert server.early == []
    # A dated wait counts by the server's clock, a bare one as it says; else 1 and 2 seconds.
    wanted = [7.0, 7.0] if fault.startswith("429") else [1.0, 2.0]
    assert [seconds for seconds in clock.slept if seconds >= 1] == wanted
    assert client.tally.waited_seconds == sum(clock.slept)


def test_a_service_that_is_away_ends_the_sync_and_says_to_come_back(server: Scripted, client: Client) -> None:
    server.faults = dict.fromkeys(range(1, 100), "502")
    with pytest.raises(HttpFault, match="no answer in 8 attempts: it answered 502") as away:
        client.get("ok")
    assert away.value.stops
    assert "goes on where it was" in away.value.fix
    assert len(server.log) == 8


def test_a_wait_that_is_too_long_ends_the_sync(server: Scripted, client: Client) -> None:
    server.paths["/later"] = lambda *_: (429, {}, {"Retry-After": "86400"})
    with pytest.raises(HttpFault, match="asks to wait 86,400 seconds") as fault:
        client.get("later")
    assert fault.value.stops


def test_an_error_about_one_document_says_what_the_service_says(client: Client) -> None:
    with pytest.raises(HttpFault, match="404: Nothing here") as fault:
        client.get("gone", {"key": "hidden"})
    assert (fault.value.status, fault.value.reason, fault.value.stops) == (404, "object_not_found", False)
    assert "hidden" not in str(fault.value)


def test_credentials_are_renewed_once(server: Scripted, clock: FakeClock) -> None:
    tokens = ["old"]
    server.paths["/mine"] = lambda _, headers: (
        (200, {"fine": True}) if headers["authorization"] == "Bearer new" else (401, {"message": "expired"})
    )

    def authorize(renew: bool) -> Mapping[str, str]:
        if renew:
            tokens[0] = "new"
        return {"Authorization": f"Bearer {tokens[0]}"}

    client = Client(server.base, FAST, authorize=authorize, clock=clock)
    assert client.get("mine") == {"fine": True}
    server.paths["/mine"] = lambda *_: (401, {"message": "revoked"})
    with pytest.raises(HttpFault, match="revoked") as fault:
        client.get("mine")
    assert fault.value.stops
    client.close()


def test_a_throttling_reply_of_another_status_is_known(server: Scripted, clock: FakeClock) -> None:
    replies = [(403, {"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}), (200, {"fine": True})]
    server.paths["/busy"] = lambda *_: replies.pop(0)
    client = Client(server.base, FAST, clock=clock, throttled=lambda reply: b"userRateLimitExceeded" in reply.body)
    assert client.get("busy") == {"fine": True}
    client.close()


def test_redirects_are_followed_and_credentials_stay_behind(server: Scripted, client: Client) -> None:
    other = Scripted()
    other.paths["/there"] = lambda *_: (200, {"moved": True})
    server.paths["/here"] = lambda *_: (302, b"", {"Location": "/there"})
    server.paths["/there"] = lambda *_: (200, {"here": True})
    assert client.get("here") == {"here": True}
    assert server.seen[-1]["authorization"] == "Bearer secret"
    # The other server lies in a private network, and no person named it.
    server.paths["/away"] = lambda *_: (302, b"", {"Location": f"{other.base}/there"})
    with pytest.raises(HttpFault, match="an address of a private network") as fault:
        client.get("away")
    assert not fault.value.stops
    assert other.log == []
    # Where look-ups say that it is a public one, it is asked, without the credentials.
    outside = Client(
        server.base, FAST, headers={"Authorization": "Bearer secret"}, look_up=lambda host, port: ["127.0.0.1"]
    )
    with pytest.raises(HttpFault, match="private network"):
        outside.get("away")
    outside.close()
    other.stop()


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    server: Scripted, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is public and passes, the second would be private. There is no second look."""
    from tunesmith.web import addresses

    port = int(server.base.rpartition(":")[2])
    answers, tried = ["93.184.216.34", "127.0.0.1"], list[str]()

    def connect(place: tuple[str, int], _: float) -> Any:
        tried.append(place[0])
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(addresses.socket, "create_connection", connect)
    limits = Limits(rate=1e6, burst=1000, attempts=1)
    rebinding = Client(
        "https://api.example.org", limits, clock=FakeClock(), look_up=lambda host, port: [answers.pop(0)]
    )
    with pytest.raises(HttpFault, match="no answer"):
        rebinding.download(f"http://rebind.example.org:{port}/latest/meta-data")
    assert tried == ["93.184.216.34"]
    with pytest.raises(HttpFault, match=r"leads to 127\.0\.0\.1, an address of a private network"):
        rebinding.download(f"http://rebind.example.org:{port}/latest/meta-data")
    assert tried == ["93.184.216.34"]
    assert server.log == []


def test_redirects_without_end_and_to_no_address_are_refused(server: Scripted, client: Client) -> None:
    server.paths["/round"] = lambda *_: (301, b"", {"Location": "/round"})
    with pytest.raises(HttpFault, match="redirects do not end"):
        client.get("round")
    assert len(server.log) == 6
    server.paths["/odd"] = lambda *_: (302, b"", {"Location": "/ok?a=one two%20three"})
    assert client.get("odd") == {"asked": {"a": "one two three"}}
    for place in ("file:///etc/passwd", "http://a:b@c/", "http://[::1"):
        server.paths["/odd"] = lambda *_, place=place: (302, b"", {"Location": place})
        with pytest.raises(HttpFault) as fault:
            client.get("odd")
        assert fault.value.reason == "redirect"
        assert not fault.value.stops


def test_over_tls_the_name_is_checked_and_the_address_is_the_one_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Scripted
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=api.example", "-addext", "subjectAltName=DNS:api.example"]
    subprocess.run(
        [openssl, *made, "-keyout", str(key), "-out", str(certificate), *named], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    server.server.handle_error = lambda *_: None  # type: ignore[method-assign]
    port = int(server.base.rpartition(":")[2])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    limits = Limits(rate=1e6, burst=1000, attempts=1)

    def ask(host: str) -> Any:
        client = Client(f"https://{host}:{port}", limits, clock=FakeClock(), look_up=lambda *_: ["127.0.0.1"])
        try:
            return client.get("ok")
        finally:
            client.close()

    assert ask("api.example") == {"asked": {}}
    with pytest.raises(HttpFault, match="certificate verify failed"):
        ask("other.example")
    server.paths["/down"] = lambda *_: (302, b"", {"Location": "http://api.example/ok"})
    client = Client(f"https://api.example:{port}", limits, clock=FakeClock(), look_up=lambda *_: ["127.0.0.1"])
    with pytest.raises(HttpFault, match="leads from https to http"):
        client.get("down")
    client.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
    ],
)
def test_private_addresses_are_known_whatever_they_are_wrapped_in(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_one_private_address_among_public_ones_is_refused() -> None:
    origin = origin_of("https://example.org")
    with pytest.raises(UserError, match=r"leads to 10\.0\.0\.1"):
        checked(origin, set(), lambda *_: ["93.184.216.34", "10.0.0.1"])
    assert checked(origin, {origin}, lambda *_: ["10.0.0.1"]) == ["10.0.0.1"]
    # The same host on another port was not named.
    with pytest.raises(UserError):
        checked(origin_of("https://example.org:8443"), {origin}, lambda *_: ["10.0.0.1"])


@pytest.mark.parametrize(
    "address", ["ftp://a.b", "file:///etc/passwd", "https://", "https://u:p@a.b", "http://a:x/", ""]
)
def test_no_address_is_said(address: str) -> None:
    with pytest.raises(UserError) as fault:
        origin_of(address)
    assert "u:p" not in str(fault.value)


def test_bodies_are_counted_and_bombs_refused(server: Scripted, clock: FakeClock) -> None:
    bomb = gzip.compress(b"0" * 30_000_000)
    server.paths["/bomb"] = lambda *_: (200, bomb, {"Content-Encoding": "gzip"})
    server.paths["/packed"] = lambda *_: (200, gzip.compress(b'{"a": 1}'), {"Content-Encoding": "gzip"})
    server.paths["/torn"] = lambda *_: (200, gzip.compress(b'{"a": 1}' * 99)[:-9], {"Content-Encoding": "gzip"})
    server.paths["/large"] = lambda *_: (200, b"x" * 2000)
    limits = Limits(rate=1e6, burst=1000, reply_bytes=1_000_000, sync_bytes=200_000, attempts=2)
    client = Client(server.base, limits, clock=clock)
    assert client.get("packed") == {"a": 1}
    with pytest.raises(HttpFault, match="the reply holds more than 1 MiB") as fault:
        client.get("bomb")
    assert not fault.value.stops
    with pytest.raises(HttpFault, match="its reply was cut off"):
        client.download("torn")
    with pytest.raises(HttpFault, match="the reply holds more"):
        client.download("large", most=1000)
    assert client.tally.bytes < 100_000
    with pytest.raises(HttpFault, match="the sync has received more") as spent:
        list(map(client.download, ["large"] * 1000))
    assert spent.value.stops
    assert 200_000 < client.tally.bytes < 210_000
    client.close()


def test_cursors_that_come_again_are_no_end_and_no_loop(client: Client) -> None:
    replies: dict[str | None, Any] = {None: "b", "b": "c", "c": "b"}
    asked: list[str | None] = []

    def ask(cursor: str | None) -> Any:
        asked.append(cursor)
        return replies[cursor]

    with pytest.raises(HttpFault, match="names the same page twice") as fault:
        list(client.pages(ask, lambda reply: reply))
    assert fault.value.stops
    assert asked == [None, "b", "c"]
    replies["c"] = None
    assert list(client.pages(ask, lambda reply: reply)) == ["b", "c", None]


@given(rate=st.floats(0.1, 50), burst=st.integers(1, 10), pauses=st.lists(st.floats(0, 30), max_size=40))
def test_no_window_of_time_holds_more_requests_than_allowed(rate: float, burst: int, pauses: list[float]) -> None:
    clock = FakeClock(0.0)
    bucket, sent = TokenBucket(rate, burst, clock), list[float]()
    for pause in [*pauses, *[0.0] * 20]:
        clock.time += pause
        bucket.take()
        sent.append(clock.time)
    for first, start in enumerate(sent):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + (sent[last] - start) * rate + 1e-6


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT", "date": "Thu, 01 Jan 1970 00:01:00 GMT"}, 40.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
    ],
)
def test_both_forms_of_retry_after_are_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, 10.0) == seconds


def test_a_connection_is_kept_and_one_that_was_closed_opened_again(server: Scripted, client: Client) -> None:
    for _ in range(3):
        client.get("ok")
    kept = client._open
    client.get("ok")
    assert client._open is kept
    server.faults = {len(server.log) + 1: "close"}
    assert client.get("ok") == {"asked": {}}
    assert client.tally.repeated == {"connection": 1}


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", " s3cret\n")
    assert credential("SOME_TOKEN", "Some", "make one") == "s3cret"
    monkeypatch.setenv("SOME_TOKEN", " ")
    with pytest.raises(UserError, match="SOME_TOKEN is not set"):
        credential("SOME_TOKEN", "Some", "make one")


def test_requests_are_counted_in_the_receipt_that_is_handed_in(server: Scripted, clock: FakeClock) -> None:
    receipt = Receipt("numbers")
    client = Client(server.base, FAST, clock=clock, tally=receipt)
    client.get("ok")
    client.close()
    assert json.loads(json.dumps(receipt.plain()))["requests"] == 1


def test_no_credentials_travel_unencrypted_over_the_open_network() -> None:
    secret = {"authorization": "Bearer secret"}
    for settings in ({"headers": secret}, {"authorize": lambda renew: secret}):
        with pytest.raises(UserError, match=r"unencrypted to api\.example\.org"):
            Client("http://api.example.org", FAST, **settings)
        for base in (
            "https://api.example.org",
            "http://localhost:1",
            "http://127.0.0.1",
            "http://[::1]",
            "http://10.1.1.1",
        ):
            Client(base, FAST, **settings)
    Client("http://www.example.org", FAST)


def test_without_redirects_one_is_an_error_that_says_so(server: Scripted, clock: FakeClock) -> None:
    server.paths["/here"] = lambda *_: (302, b"", {"Location": "/ok"})
    client = Client(server.base, replace(FAST, redirects=0), clock=clock)
    with pytest.raises(HttpFault, match=r"elsewhere \(302\), which is not followed"):
        client.get("here")
    client.close()
    assert server.log == ["GET /here"]


def test_what_an_error_says_is_read_in_every_form(server: Scripted, clock: FakeClock) -> None:
    client = Client(server.base, FAST, clock=clock, fixes={422: "ask otherwise"})
    for body, said in (
        ({"error": {"message": "Bad\n value.", "param": "seed"}}, "Bad value. (seed)"),
        ({"error": "no such model"}, "no such model"),
        ({"error": "invalid_grant", "error_description": "It has ended."}, "It has ended."),
        ({"detail": "Not Found"}, '{"detail": "Not Found"}'),
        (b"plain words", "plain words"),
        (b"<html>gateway</html>", ""),
    ):
        server.paths["/bad"] = lambda *_, body=body: (422, body)
        with pytest.raises(HttpFault) as fault:
            client.get("bad")
        assert (fault.value.said, fault.value.fix, fault.value.status) == (said, "ask otherwise", 422)
    client.close()


def test_a_wait_ends_when_another_thread_says_so() -> None:
    clock = StoppableClock()
    threading.Timer(0.05, clock.stop).start()
    with pytest.raises(Stopped):
        clock.sleep(60)
    clock.start()
    clock.sleep(0)
