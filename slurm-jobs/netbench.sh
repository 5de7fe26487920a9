#!/bin/sh
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --time=2:00:00
#SBATCH --job-name=netbench
#SBATCH --output=netbench-%j.out
# What pods cost on the job's hosts: brings clusters up and down, and writes netbench-JOBID/report.html:
#   sbatch -N2 netbench.sh
#   sbatch -N2 netbench.sh PLAN.yaml
exec netbench job "$@"
