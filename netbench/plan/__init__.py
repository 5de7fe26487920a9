"""What is to be measured: plans, and the list of runs that follows from one."""
