"""Hosts inside a Slurm job: what Slurm is asked, steps that run on the hosts, the launcher on both."""
