"""Where runs are made: on the hosts, and in pods of three networks; see `netbench.plan.STATES` for their list."""
