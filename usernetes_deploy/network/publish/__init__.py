"""Ports of Services and pods on the host: what objects ask for, who gets it, rootlesskit that opens it."""
