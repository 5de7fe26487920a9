#!/bin/sh
#flux: --nodes=2
#flux: --time-limit=2h
#flux: --job-name=netbench
#flux: --output=netbench-{{id}}.out
# What pods cost on the job's hosts: brings clusters up and down, and writes netbench-JOBID/report.html:
#   flux batch -N2 netbench.sh
#   flux batch -N2 netbench.sh PLAN.yaml
exec netbench job "$@"
