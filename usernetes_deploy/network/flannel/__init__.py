"""The comparison backend: the real flanneld, VXLAN over the user-space NAT, with one published UDP port a node."""

from usernetes_deploy.network.flannel.backend import Flannel

__all__ = ["Flannel"]
