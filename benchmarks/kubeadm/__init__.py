"""The usual way, as a baseline: kubeadm on nodes made of the same namespaces, network, runtime and binaries as ours."""
