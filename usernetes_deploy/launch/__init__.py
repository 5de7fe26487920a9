"""Launchers: each starts commands on hosts and nothing else; what a node is, is the same everywhere."""
