"""What agents may ask of clusters, as a server of the Model Context Protocol (extra `mcp`); so far it only reads."""
