"""How nodes and pods reach each other: one backend a folder, and what is exposed on the hosts' real addresses."""
