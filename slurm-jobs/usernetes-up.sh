#!/bin/sh
#SBATCH --nodes=4
#SBATCH --exclusive
#SBATCH --time=1:00:00
#SBATCH --job-name=usernetes
#SBATCH --output=usernetes-%j.out
#SBATCH --no-kill
#SBATCH --signal=B:USR1@90
# A Kubernetes cluster of the job's hosts, as long as the job lasts, or as long as its workflow runs:
#   sbatch -N4 usernetes-up.sh
#   sbatch -N4 usernetes-up.sh -- ./workflow.sh its arguments
# --no-kill: a lost host ends its node, not the cluster. --signal: 90 s before the time limit the cluster ends in order.
exec usernetes job "$@"
