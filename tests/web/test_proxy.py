"""The client behind a real proxy: tunnels, credentials, who is asked directly, and where a page may lead it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.connect_proxy import ConnectProxy
from tests.fixtures.fake_http import Answer, FakeClock, FakeService
from tunesmith.web.addresses import origin_of
from tunesmith.web.http import Client, Limits
from tunesmith.web.proxies import proxy_of
from tunesmith.web.replies import HttpFault

FAST = Limits(rate=1e6, burst=1000, attempts=2)
VARIABLES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
PUBLIC = "93.184.216.34"


def unknown(_host: str, _port: int) -> Sequence[str]:
    """Where only the proxy knows names."""
    raise socket.gaierror(socket.EAI_NONAME, "not known")


class Site(FakeService):
    """Answers every path with it, and redirects where it is told."""

    def __init__(self) -> None:
        self.leads: dict[str, str] = {}
        self.seen: list[Mapping[str, str]] = []
        super().__init__()
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def answer(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Answer:
        self.seen.append(headers)
        if path in self.leads:
            return 302, b"", {"Location": self.leads[path]}
        return 200, {"path": path, "host": headers["host"]}

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=api.example", "-addext", "subjectAltName=DNS:api.example,DNS:files.example"]
    command = [openssl, *kind, "-keyout", str(key), "-out", str(made), *names]
    subprocess.run(command, check=True, capture_output=True)
    return key, made


@pytest.fixture
def site(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server that shows a certificate for two names."""
    key, made = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    served = Site()
    served.server.socket = context.wrap_socket(served.server.socket, server_side=True)
    yield served
    served.stop()


@pytest.fixture
def proxy(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy]:
    """Reaches the site by all names, whosever they are."""
    ports = dict.fromkeys(("api.example", "files.example", "intranet.example", "api.example.org"), site.port)
    made = ConnectProxy(ports)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{made.address}")
    yield made
    made.stop()


Make = Callable[..., Client]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes clients, and closes them."""
    made: list[Client] = []

    def client(base: str = "https://api.example", **settings: Any) -> Client:
        made.append(Client(base, settings.pop("limits", FAST), clock=FakeClock(), **settings))
        return made[-1]

    yield client
    for one in made:
        one.close()


def test_a_tunnel_is_asked_for_by_name_and_kept(proxy: ConnectProxy, site: Site, make: Make) -> None:
    said: list[str] = []
    client = make(headers={"Authorization": "Bearer secret"}, look_up=unknown, say=said.append)
    assert client.get("one") == {"path": "/one", "host": "api.example"}
    assert client.get("two")["path"] == "/two"
    assert proxy.asked == ["CONNECT api.example:443"]
    # What is for the service goes through the tunnel; the proxy sees none of it.
    assert [one["authorization"] for one in site.seen] == ["Bearer secret"] * 2
    assert set(proxy.headers[0]) == {"host", "user-agent"}
    assert said == [f"https://api.example is asked through the proxy http://{proxy.address} (HTTPS_PROXY)"]


def test_the_proxy_is_shown_its_credentials_and_nobody_else(
    proxy: ConnectProxy, site: Site, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.wants = "Basic bWU6cEBzcw=="  # me:p@ss
    monkeypatch.setenv("https_proxy", f"http://me:p%40ss@{proxy.address}")
    assert make().get("ok")["path"] == "/ok"
    assert "proxy-authorization" not in site.seen[0]
    monkeypatch.setenv("https_proxy", f"http://me:wrong@{proxy.address}")
    with pytest.raises(HttpFault, match=r"answered 407 Proxy Authentication Required for https://") as fault:
        make().get("ok")
    assert fault.value.stops
    assert "write a name and a password into https_proxy" in fault.value.fix
    assert "wrong" not in str(fault.value)
    assert len(proxy.asked) == 2


def test_what_a_proxy_refuses_is_not_asked_again_and_what_it_puts_off_is(
    proxy: ConnectProxy, site: Site, make: Make
) -> None:
    proxy.answers = [(403, "Denied by policy")]
    with pytest.raises(HttpFault, match="answered 403 Denied by policy") as fault:
        make().get("ok")
    assert "NO_PROXY" in fault.value.fix
    assert len(proxy.asked) == 1
    proxy.answers = [(503, "Busy")]
    assert make().get("ok")["path"] == "/ok"
    proxy.answers = [(503, "Busy")] * 2
    with pytest.raises(HttpFault, match=r"no answer in 2 attempts: the connection failed \(the proxy .* 503 Busy"):
        make().get("ok")
    assert len(site.seen) == 1


def test_a_proxy_that_is_away_is_said_where_nothing_answers(
    proxy: ConnectProxy, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "me:hidden@127.0.0.1:1")
    with pytest.raises(HttpFault) as fault:
        make().get("ok")
    assert "the proxy http://127.0.0.1:1 (HTTPS_PROXY)" in fault.value.what
    assert "it was asked through the proxy http://127.0.0.1:1 (HTTPS_PROXY)" in fault.value.fix
    assert "hidden" not in str(fault.value)


def test_the_certificate_is_checked_through_the_tunnel(proxy: ConnectProxy, site: Site, make: Make) -> None:
    """A name that leads into the proxy's network: its server has no certificate for the name, and is told nothing."""
    site.leads["/away"] = "https://intranet.example/secret?of=the-redirect"
    with pytest.raises(HttpFault, match="certificate verify failed"):
        make(look_up=unknown).download("away")
    assert "CONNECT intranet.example:443" in proxy.asked
    assert [path for path in site.log if "secret" in path] == []


def test_where_a_page_leads_is_checked_behind_a_proxy_too(
    proxy: ConnectProxy, site: Site, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.leads |= {
        "/file": "https://files.example/a.pdf",
        "/inside": "https://files.example/inside",
        "/plain": "http://files.example/plain",
        "/machine": "https://127.0.0.1/machine",
        "/metadata": "https://169.254.169.254/metadata",
        "/number": "https://100.64.0.1/number",
    }
    for look_up in (unknown, lambda *_: [PUBLIC]):
        client = make(headers={"Authorization": "Bearer secret"}, look_up=look_up)
        assert client.get("file") == {"path": "/a.pdf", "host": "files.example"}
        assert "authorization" not in site.seen[-1]
    asked = list(proxy.asked)
    for path, what in (
        ("inside", r"leads to 10\.0\.0\.1, an address of a private network"),
        ("machine", r"leads to 127\.0\.0\.1"),
        ("metadata", r"leads to 169\.254\.169\.254"),
        ("number", r"leads to 100\.64\.0\.1"),
        ("plain", "leads from https to http"),
    ):
        literal = site.leads[f"/{path}"].split("/")[2]
        client = make(look_up=lambda *_, there=literal: ["10.0.0.1" if there == "files.example" else there])
        with pytest.raises(HttpFault, match=what):
            client.download(path)
        assert proxy.asked == [*asked, "CONNECT api.example:443"]
        asked = list(proxy.asked)
    # Plain http has no certificate: what a page names is not asked, what a person names is.
    plain = Site()
    proxy.ports["files.example"] = plain.port
    monkeypatch.setenv("http_proxy", f"http://me:pass@{proxy.address}")
    with pytest.raises(HttpFault, match="plain http, which can't be checked behind a proxy"):
        make(look_up=lambda *_: [PUBLIC]).download("http://files.example/plain")
    assert make("http://files.example").get("plain") == {"path": "/plain", "host": "files.example"}
    assert proxy.asked[-1] == "GET http://files.example/plain"
    assert proxy.headers[-1]["proxy-authorization"] == "Basic bWU6cGFzcw=="
    proxy.wants = "Basic other"
    with pytest.raises(HttpFault, match="407") as fault:
        make("http://files.example").get("plain")
    assert "http://NAME:PASSWORD@HOST:PORT" in fault.value.fix
    plain.stop()


def test_this_machine_is_never_asked_through_a_proxy(
    proxy: ConnectProxy, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Site()
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://{proxy.address}")
    for host in ("127.0.0.1", "localhost"):
        client = make(f"http://{host}:{near.port}", headers={"Authorization": "Bearer secret"})
        assert client.get("ok")["path"] == "/ok"
    assert proxy.asked == []
    near.stop()


@pytest.mark.parametrize(
    ("environment", "address", "variable"),
    [
        ({}, "https://api.example", None),
        ({"HTTPS_PROXY": "p:1"}, "https://api.example", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "p:1"}, "http://api.example", None),
        ({"HTTPS_PROXY": "p:1", "https_proxy": "q:1"}, "https://api.example", "https_proxy"),
        ({"HTTPS_PROXY": "p:1", "https_proxy": ""}, "https://api.example", None),
        ({"ALL_PROXY": "p:1"}, "https://api.example", "ALL_PROXY"),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "*"}, "https://api.example", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "other.org, .EXAMPLE"}, "https://api.example", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "*.api.example"}, "https://api.example", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "pi.example,ap"}, "https://api.example", "ALL_PROXY"),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "api.example:443"}, "https://api.example", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "api.example:443"}, "https://api.example:8443", "ALL_PROXY"),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "93.184.0.0/16"}, f"https://{PUBLIC}", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "93.185.0.0/16,::/0"}, f"https://{PUBLIC}", "ALL_PROXY"),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "2606:2800::1"}, "https://[2606:2800::1]", None),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "[2606:2800::1]:443"}, "https://[2606:2800::1]", None),
        *(
            ({"ALL_PROXY": "p:1"}, f"https://{host}", None)
            for host in ("localhost", "localhost.", "127.0.0.2", "[::1]", "10.1.2.3", "wiki", "a.internal", "b.local")
        ),
    ],
)
def test_the_environment_says_which_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], address: str, variable: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_of(origin_of(address))
    assert (found and found.variable) == variable


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ("socks5://me:hidden@p:1080", "names a proxy by socks5"),
        ("https://p:443", "names a proxy by https"),
        ("http://me:hidden@p:port", "names no proxy"),
        ("http://", "names no proxy"),
    ],
)
def test_a_proxy_that_can_not_be_spoken_to_is_said(
    make: Make, monkeypatch: pytest.MonkeyPatch, named: str, what: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", named)
    with pytest.raises(HttpFault, match=f"ALL_PROXY {what}") as fault:
        make(limits=replace(FAST, attempts=1)).get("ok")
    assert fault.value.stops
    assert "add api.example to NO_PROXY" in fault.value.fix
    assert "hidden" not in str(fault.value)


@pytest.mark.parametrize("address", ["https://a..b", f"https://{'a' * 64}.example"])
def test_a_name_that_can_not_be_looked_up_is_no_address(make: Make, site: Site, address: str) -> None:
    site.leads["/odd"] = address
    client = make(f"https://api.example:{site.port}", look_up=lambda *_: ["127.0.0.1"])
    with pytest.raises(HttpFault, match="leads to what is no address"):
        client.get("odd")
