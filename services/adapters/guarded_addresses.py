"""Which network addresses a server may be sent to by its clients: public ones, and those of networks that the operator names.

IANA's special-purpose registries (RFC 6890, as of 2025) decide, not the standard library's tables, which differ between
versions of Python. IPv6 is allow-listed: global unicast is 2000::/3, less what is special in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052; 64:ff9b:1::/48 (RFC 8215) is local and stays refused


class AllowedNetworks:
    """What is public, and the networks that are reached all the same."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Read networks such as "10.1.0.0/16" or "::1"; raises ValueError."""
        self._allowed: list[Network] = [ipaddress.ip_network(text) for text in networks]

    def permits(self, text: str) -> bool:
        """Whether connections to this address are allowed; what is no address is not."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        plain = _without_mapping(address)
        return self.names(text) or is_public(plain)

    def names(self, text: str) -> bool:
        """Whether the operator has named this address."""
        try:
            plain = _without_mapping(ipaddress.ip_address(text))
        except ValueError:
            return False
        return any(plain in network for network in self._allowed)


def is_public(address: Address) -> bool:
    """Whether it is an address of the public internet, seen through IPv4-mapped, NAT64 (RFC 6052) and 6to4 (RFC 3056) forms."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(inner)
    return address.scope_id is None and address in _GLOBAL_UNICAST and not any(address in network for network in _SPECIAL_V6)


def _without_mapping(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
