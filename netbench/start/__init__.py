"""Starts benchmarks: the MPI launcher's command lines, and one process with a time limit."""
