#!/bin/sh
#SBATCH --nodes=1
#SBATCH --time=0:10:00
#SBATCH --job-name=usernetes-down
#SBATCH --output=usernetes-down-%j.out
# End the cluster of another job in order, e.g. after a third one:
#   sbatch --dependency=afterany:JOB usernetes-down.sh CLUSTER_JOB
exec usernetes down --cluster "$@"
