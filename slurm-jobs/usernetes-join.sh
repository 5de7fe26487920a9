#!/bin/sh
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=1:00:00
#SBATCH --job-name=usernetes-join
#SBATCH --output=usernetes-join-%j.out
#SBATCH --no-kill
#SBATCH --signal=B:USR1@90
# Further hosts for the cluster of another job; they are held until that ends:
#   sbatch -N2 usernetes-join.sh CLUSTER_JOB
exec usernetes job --join "$@"
