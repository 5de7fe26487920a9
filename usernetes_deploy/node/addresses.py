"""Follows the addresses of the cluster's hosts while nodes run: DHCP may give a host another one at any time.

A node whose host's address changes writes the new one on its own Node as a label, which the API lets no other node do;
the others watch for that label. While nothing moves, nothing is sent and nobody wakes up: the kernel tells of changes.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from usernetes_deploy import threads
from usernetes_deploy.errors import UsernetesError
from usernetes_deploy.threads import Begin

LABEL = "usernetes.dev/host-address"
RTMGRP_IPV4_IFADDR = 0x10
SETTLE = 0.1  # seconds: a new lease takes the old address away and gives the new one
RETRY = 1.0


class Addresses:
    """One node's view of who is where.

    - `follows`: False where others could not find this node again (the control plane: its address is in the API's
      certificate and in all kubeconfigs); then `lost` is told, with "" when the address is back.
    - `tell(address)`: write it on our Node. `change(own, peers)`: the network has to use these from now on.
    - `changed` is set when what `listed` returns may differ.
    - `listed()`: name -> address of all nodes with the label, as the API has them.
    """

    def __init__(
        self,
        name: str,
        interface: str,
        address: str,
        changed: threading.Event,
        *,
        follows: bool,
        tell: Callable[[str], None],
        change: Callable[[str, Mapping[str, str]], None],
        lost: Callable[[str], None],
        listed: Callable[[], Mapping[str, str]],
    ) -> None:
        self.name = name
        self.interface = interface
        self.address = address
        self._follows = follows
        self._tell = tell
        self._change = change
        self._lost = lost
        self._listed = listed
        self._told = address
        self._used: tuple[str, Mapping[str, str]] = (address, {})
        self._changed = changed

    def start(self, begin: Begin = threads.begin) -> None:
        """Begin, in threads that live as long as the process."""
        begin("addresses of this host", self._listen)
        begin("addresses of the hosts", self._run)

    def reconcile(self) -> None:
        """Look at the interface and at what the API says, and act on what differs."""
        there = of_interface(self.interface)
        if self._follows:
            self.address = nearest(there, self.address)
        else:
            self._lost("" if self.address in there else self._words(there))
        listed = self._listed()
        peers = {name: address for name, address in listed.items() if name != self.name}
        try:
            # First the others: when our tunnel greets them from its new address, they know it.
            if self._follows and listed.get(self.name, self._told) != self.address:
                self._tell(self.address)
                self._told = self.address
        finally:
            if (self.address, peers) != self._used:
                self._change(self.address, peers)
                self._used = (self.address, peers)

    def _words(self, there: Sequence[str]) -> str:
        return (
            f"the host's address {self.address} is gone from {self.interface} (now: {', '.join(there) or 'none'}), "
            "and the API's certificate, the kubeconfig and the other nodes know no other: "
            "give it back, or usernetes down and up"
        )

    def _run(self) -> None:
        while True:
            self._changed.wait()
            time.sleep(SETTLE)
            self._changed.clear()
            try:
                self.reconcile()
            except (OSError, ValueError, UsernetesError) as error:
                print(f"addresses: {error}", file=sys.stderr, flush=True)
                time.sleep(RETRY)
                self._changed.set()

    def _listen(self) -> None:
        """Sleep until the kernel says that an IPv4 address came or went."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
            changes.bind((0, RTMGRP_IPV4_IFADDR))
            self._changed.set()  # for what happened before we listened
            while True:
                try:
                    changes.recv(1 << 16)
                except OSError as error:  # ENOBUFS: more happened than the kernel kept for us
                    print(f"addresses: {error}", file=sys.stderr, flush=True)
                self._changed.set()


def of_interface(name: str) -> list[str]:
    """Return the global IPv4 addresses of a host's interface, [] when it has none or is not there."""
    argv = ["ip", "-json", "-4", "address", "show", "scope", "global", "dev", name]
    done = subprocess.run(argv, capture_output=True, check=False)
    return parse(json.loads(done.stdout or b"[]"))


def parse(links: Sequence[Mapping[str, Any]]) -> list[str]:
    """
    >>> parse([{}, {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "192.0.2.7", "prefixlen": 24}]}])
    ['192.0.2.7']
    """
    return [str(item["local"]) for link in links for item in link.get("addr_info", ()) if "local" in item]


def nearest(there: Sequence[str], before: str) -> str:
    """Return `before` while it is there or nothing is, else the address that has most leading bits in common with it.

    >>> nearest(["10.0.0.7", "192.0.2.80"], "192.0.2.9")
    '192.0.2.80'
    """
    if before in there or not there:
        return before
    number = int(ipaddress.IPv4Address(before))
    return min(there, key=lambda one: int(ipaddress.IPv4Address(one)) ^ number)
