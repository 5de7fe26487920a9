"""Where runs are made: on the hosts, and in pods of three networks; `netbench.plan.document.STATES` lists them."""
