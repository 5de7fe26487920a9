"""What `usernetes` and `netbench` share of being a command-line program: verbs, flags, completion, tables."""
