"""The verbs of ``netbench``: invoke tasks, thin callers of the modules above them."""
