"""Changes of a cluster, each a literal list of phases, and the runner that carries them out and takes them back."""
