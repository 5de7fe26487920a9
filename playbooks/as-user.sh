#!/usr/bin/env bash
# Run a program of the virtual environment as an unprivileged user: as oneself, or called by root as the demo's user.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
program=$1
shift
if [ "$(id -u)" != 0 ]; then
  export PATH="$venv/bin:$PATH" USERNETES_BUNDLE_CACHE="$cache"
  exec "$venv/bin/$program" "$@"
fi
home=$(getent passwd "$demo_user" | cut -d: -f6)
cd "$home"
# Only what a login would have: root's environment is not the user's.
exec runuser -u "$demo_user" -- env -i HOME="$home" USER="$demo_user" LANG="${LANG:-C.UTF-8}" TERM="${TERM:-dumb}" \
  PATH="$venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
  USERNETES_BUNDLE_CACHE="$cache" "$venv/bin/$program" "$@"
