#!/bin/sh
#flux: --nodes=1
#flux: --time-limit=1h
#flux: --job-name=usernetes-join
#flux: --output=usernetes-join-{{id}}.out
# Further hosts for the cluster of another job; they are held until that ends:
#   flux batch -N2 usernetes-join.sh CLUSTER_JOB
exec usernetes job --join "$@"
