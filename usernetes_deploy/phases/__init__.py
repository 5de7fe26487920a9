"""The phases of bringing a cluster up, one a file; `usernetes_deploy.changes.bringup.UP` says in which order.

A phase looks, judges or acts, never two of them: `probe_nodes` asks, `check_nodes` decides on the answers, and only
later phases change anything.
"""
