"""What runs on a node: the keeper outside the user namespace, the supervisor inside it, and Kubernetes' processes.

Standard library only (Python >= 3.9): this package travels to the nodes as one zip file, ``node.pyz``.

::

    keeper            the user's own process; starts the tree again when it dies; killing it ends the node
    └── rootlesskit   makes the user, mount, PID and (detached) network namespaces
        └── supervisor   sits in the new user namespace but on the host's network
            ├── mesh       WireGuard: socket on the host's network, interface in the node's
            ├── containerd, kubelet, kube-proxy, and on the first node etcd, the API server, ... in the node's network
            └── pods
"""
