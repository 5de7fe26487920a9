"""Records of runs: what one holds, its schema, and how foreign outputs become records."""
