#!/bin/sh
#flux: --nodes=4
#flux: --time-limit=1h
#flux: --job-name=usernetes
#flux: --output=usernetes-{{id}}.out
# A Kubernetes cluster of the job's hosts, as long as the job lasts, or as long as its workflow runs:
#   flux batch -N4 usernetes-up.sh
#   flux batch -N4 usernetes-up.sh -- ./workflow.sh its arguments
exec usernetes job "$@"
