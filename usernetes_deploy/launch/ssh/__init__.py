"""Hosts reached over SSH: settings, sign-in, host keys, connections, commands, the launcher on them."""
