"""The default backend: an encrypted WireGuard mesh between the nodes, one UDP port a node."""

from usernetes_deploy.network.mesh.backend import Mesh

__all__ = ["Mesh"]
