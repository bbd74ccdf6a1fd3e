"""Where a webhook may go: the public Internet over TLS, and the networks that WEBHOOK_ALLOW_CIDRS opens.

The URL comes from whoever may submit jobs, the request from inside our network: without a guard they could make us
call Postgres, the cloud's metadata service or the host (server-side request forgery). A name is looked up once, every
address of the answer is judged, and only a judged address is connected to: what a second look-up would say is nobody's
concern.
"""

import socket
from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import structlog

from jobs.errors import Permanent

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

#: Global by IANA's registry, yet nobody's host: protocol assignments, the 6to4 relays.
_V4_SPECIAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
#: All that IANA has given out as global unicast. Leaves out loopback, ULA, link- and site-local, multicast, ::/96.
_V6_UNICAST: Final = IPv6Network("2000::/3")
#: Protocol assignments, Teredo and 6to4: the latter two carry an IPv4 address that somebody else routes.
_V6_SPECIAL: Final = (IPv6Network("2001::/23"), IPv6Network("2002::/16"))
#: NAT64 (RFC 6052): the last 32 bits are the IPv4 address that the packet reaches.
_NAT64: Final = IPv6Network("64:ff9b::/96")

log = structlog.get_logger()


class AddressRefused(Permanent):
    """The callback_url leads where webhooks may not go."""


class Reach(Enum):
    """What an address is."""

    OPENED = "a network of WEBHOOK_ALLOW_CIDRS"
    PUBLIC = "the public Internet"
    CLOSED = "neither"


def resolve(host: str, port: int, *, opened: Sequence[Network], encrypted: bool) -> list[str]:
    """The addresses of `host`, looked up once, each of them allowed, in the order of the resolver.

    Raises AddressRefused when any of them is not; OSError or UnicodeError when there are none.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(_plain(ip_address(answer[4][0])) for answer in answers))
    for address in addresses:
        _require(host, address, reach(address, opened), encrypted=encrypted)
    return [str(address) for address in addresses]


def _require(host: str, address: Address, found: Reach, *, encrypted: bool) -> None:
    if found is Reach.OPENED or (found is Reach.PUBLIC and encrypted):
        return
    # The address is for the operator alone: the owner of the job must not learn the names of our network.
    log.warning("webhook refused", host=host, address=str(address), encrypted=encrypted)
    if found is Reach.PUBLIC:
        raise AddressRefused("callback_url: plain http goes only to networks of WEBHOOK_ALLOW_CIDRS: use https")
    raise AddressRefused(
        f"callback_url: {host} leads to an address that is not public: use a public host, or let the operator open its"
        " network with WEBHOOK_ALLOW_CIDRS"
    )


def reach(address: Address, opened: Sequence[Network]) -> Reach:
    """What the address is. One inside another (IPv4-mapped, NAT64) is judged by where the packet ends."""
    address = _plain(address)
    inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address
    if any(one in network for one in (address, inner) for network in opened):
        return Reach.OPENED
    return Reach.PUBLIC if _is_public(inner) else Reach.CLOSED


def _plain(address: Address) -> Address:
    """An IPv4-mapped address as what it is: the kernel sends IPv4."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        special = any(address in network for network in _V4_SPECIAL)
        return address.is_global and not (special or address.is_multicast or address.is_reserved)
    special = any(address in network for network in _V6_SPECIAL)
    return address in _V6_UNICAST and address.is_global and not special and address.scope_id is None
