"""Where a webhook may go, and what its URL may look like."""

import socket
from ipaddress import ip_address, ip_network

import pytest

from jobs.webhooks import guard
from jobs.webhooks.address import url_problem
from jobs.webhooks.guard import AddressRefused, Reach, reach, resolve

CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a01:203",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_is_closed(address: str) -> None:
    assert reach(ip_address(address), ()) is Reach.CLOSED


@pytest.mark.parametrize("address", PUBLIC)
def test_the_rest_is_public(address: str) -> None:
    assert reach(ip_address(address), ()) is Reach.PUBLIC


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd12::1"])
def test_opened_networks_are_open_in_every_notation(address: str) -> None:
    assert reach(ip_address(address), (ip_network("10.1.0.0/16"), ip_network("fd12::/16"))) is Reach.OPENED


def test_opening_one_network_opens_no_other() -> None:
    opened = (ip_network("10.1.0.0/16"),)
    assert reach(ip_address("10.2.0.1"), opened) is Reach.CLOSED
    assert reach(ip_address("::ffff:10.2.0.1"), opened) is Reach.CLOSED


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "::1", "::ffff:127.0.0.1", "::"],
)
def test_loopback_is_refused_in_every_spelling_that_the_system_resolves(host: str) -> None:
    with pytest.raises(AddressRefused, match="not public"):
        resolve(host, 443, opened=(), encrypted=True)


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)


def test_one_bad_address_among_good_ones_refuses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8", "2606:4700::1111", "10.0.0.1")
    with pytest.raises(AddressRefused):
        resolve("hooks.test", 443, opened=(), encrypted=True)


def test_addresses_come_once_in_the_order_of_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8", "1.1.1.1", "::ffff:8.8.8.8")
    assert resolve("hooks.test", 443, opened=(), encrypted=True) == ["8.8.8.8", "1.1.1.1"]


def test_plain_http_goes_only_to_opened_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8")
    with pytest.raises(AddressRefused, match="use https"):
        resolve("hooks.test", 80, opened=(), encrypted=False)
    assert resolve("hooks.test", 80, opened=(ip_network("8.8.8.0/24"),), encrypted=False) == ["8.8.8.8"]


def test_the_refusal_names_the_host_and_not_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "10.11.12.13")
    with pytest.raises(AddressRefused) as caught:
        resolve("postgres", 443, opened=(), encrypted=True)
    assert "postgres" in str(caught.value)
    assert "10.11.12.13" not in str(caught.value)
    assert guard.AddressRefused.__name__ == "AddressRefused"  # the word that a dead letter shows


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://example.org/", "http or https"),
        ("example.org/hook", "http or https"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://user@example.org/", "user name"),
        ("https://user:secret@example.org/", "user name"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org:port/", "no URL"),
        ("http://[::1", "no URL"),
        ("https://exa\nmple.org/", "no URL"),
        ("javascript:alert(1)", "http or https"),
    ],
)
def test_a_url_that_cannot_be_called_is_named(url: str, word: str) -> None:
    problem = url_problem(url)
    assert problem is not None
    assert word in problem


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "https://example.org:8443/a?b=c@d",
        "http://10.0.0.1/x",
        "https://[2606:4700::1]/",
        "HTTPS://A.b/",
    ],
)
def test_a_url_is_taken_whatever_it_leads_to(url: str) -> None:
    assert url_problem(url) is None
