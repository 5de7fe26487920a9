"""The limits that a node gives to all that it starts, pods included."""

from __future__ import annotations

import resource

MOST_FILES = 1 << 20


def raise_limits() -> None:
    """Locked memory, open files and stack up to the hard limit: pods inherit them, and UCX needs the first.

    Of open files a million at most: programs that go through all that there might be (old MySQL, RabbitMQ, yum) would
    take minutes and gigabytes over the thousand millions that systemd allows.
    """
    for number in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK):
        hard = resource.getrlimit(number)[1]
        if number == resource.RLIMIT_NOFILE and (hard == resource.RLIM_INFINITY or hard > MOST_FILES):
            hard = MOST_FILES
        resource.setrlimit(number, (hard, hard))
