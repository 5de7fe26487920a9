"""Hosts inside a Flux instance: its questions, its execution service, the launcher on both."""
