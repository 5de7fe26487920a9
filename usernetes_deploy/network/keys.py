"""WireGuard key pairs, made by the driver before the first node starts.

Driver side only: the one module of this package that needs more than the standard library.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from usernetes_deploy.errors import Secret


@dataclass(frozen=True)
class KeyPair:
    """An X25519 key pair in base64, as WireGuard writes it. The private half is a `Secret`."""

    private: Secret
    public: str


def make_key_pair() -> KeyPair:
    """Make a new key pair.

    >>> pair = make_key_pair()
    >>> len(pair.public), pair.private
    (44, ***)
    """
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return KeyPair(Secret(base64.b64encode(private.private_bytes_raw()).decode()), base64.b64encode(public).decode())
