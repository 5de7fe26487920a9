#!/usr/bin/env bash
# Run a program of the virtual environment that bootstrap.sh made.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
cd "$checkout"
export PATH="$venv/bin:$PATH" USERNETES_BUNDLE_CACHE="$cache"
exec "$@"
