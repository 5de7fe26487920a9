"""What a batch job does that is a cluster: session, time limit, ending, lost nodes, records, joining."""
