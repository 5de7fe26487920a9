"""What a cluster is: its spec, its record, its nodes, its identities and certificates, its status."""
