"""Makes the runs of a plan: looks at the nodes, starts a benchmark, checks its output, writes the record."""
