"""NetworkPolicies, enforced on each node for its own pods by nftables."""
