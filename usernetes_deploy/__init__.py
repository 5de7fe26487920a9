"""A user-space Kubernetes for HPC: a batch job's own nodes become a cluster in seconds, without root."""

__version__ = "0.1.0"
