#!/bin/sh
#flux: --nodes=1
#flux: --nslots=1
#flux: --time-limit=10m
#flux: --job-name=usernetes-down
#flux: --output=usernetes-down-{{id}}.out
# End the cluster of another job in order, e.g. after a third one:
#   flux batch --dependency=afterany:JOB usernetes-down.sh CLUSTER_JOB
exec usernetes down --cluster "$@"
