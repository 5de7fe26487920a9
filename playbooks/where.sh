#!/usr/bin/env bash
# Say where the commands are after `make demo`, and as which user it ran.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
if [ "$(id -u)" = 0 ]; then
  home=$(getent passwd "$demo_user" | cut -d: -f6)
  echo "root made everything ready; the demo ran as the ordinary user $demo_user, whose files are in $home"
  echo "the commands: $venv/bin/usernetes, $venv/bin/netbench; as that user: $checkout/playbooks/as-user.sh usernetes up --nodes 3"
else
  echo "the commands: $venv/bin/usernetes, $venv/bin/netbench (export PATH=$venv/bin:\$PATH)"
fi
