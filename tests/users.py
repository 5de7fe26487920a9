"""The users of the tests that have test hosts."""

from __future__ import annotations

import pwd


def user_id(name: str, new: int) -> int:
    """The uid of a user, or `new` where it has to be made: one that `useradd` would not give to another by itself."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return new
