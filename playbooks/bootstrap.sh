#!/usr/bin/env bash
# From a bare Debian to a machine on which `usernetes up` works: a virtual environment with this checkout installed,
# root's part (playbooks/prepare.yml; as root, or by sudo without a password), and the bundle. Safe to run again.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
extras=""
with_root=yes
packages=build
[ -z "$site_cache" ] || packages=""
components=()
while [ $# -gt 0 ]; do
  case $1 in
    --extras) extras=$2; shift 2 ;;
    --no-root) with_root=no; shift ;;
    --packages) packages=$2; shift 2 ;;
    --with) components+=(--with "$2"); shift 2 ;;
    *) echo "bootstrap.sh: unknown flag $1 (known: --extras A,B --no-root --packages build,test --with COMPONENT)" >&2; exit 2 ;;
  esac
done
say() { echo "==> $*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif sudo -n true 2>/dev/null; then sudo -n "$@"
  else return 1; fi
}

# A Python that other users may run: one in root's home is of no use to them.
find_python() {
  local candidate path
  for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    path=$(command -v "$candidate") || continue
    "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    if [ "$(id -u)" = 0 ] && [[ $(readlink -f "$path") == /root/* ]]; then continue; fi
    echo "$path"
    return
  done
  return 1
}

if ! python=$(find_python) || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  say "install python3-venv"
  if ! as_root sh -c 'apt-get update -qq && apt-get install -y -qq python3-venv' >/dev/null; then
    echo "bootstrap.sh: no Python >= 3.11 with venv was found" >&2
    echo "  fix: as root, apt-get install python3-venv" >&2
    exit 1
  fi
  python=$(find_python)
fi

# The same sources and extras need no second installation.
key=$(cd "$checkout" && { "$python" -V; echo "$extras"; find pyproject.toml usernetes_deploy netbench playbooks flux-jobs slurm-jobs -type f ! -name '*.pyc' -print0 \
  | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$key" ]; then
  say "install usernetes-deploy${extras:+[$extras]} into $venv"
  mkdir -p "$base"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade "$checkout${extras:+[$extras]}"
  echo "$key" > "$venv/.installed"
fi

if [ $with_root = yes ]; then
  user=$(id -un)
  [ "$(id -u)" = 0 ] && user=$demo_user
  say "root's part: playbooks/prepare.yml for user $user"
  log=$(mktemp)
  if ! as_root "$venv/bin/ansible-playbook" --connection local --inventory localhost, \
      "$checkout/playbooks/prepare.yml" --extra-vars "{usernetes_user: $user, usernetes_package_sets: [$packages]}" \
      >"$log" 2>&1; then
    if [ "$(id -u)" = 0 ]; then cat "$log" >&2; exit 1; fi
    say "not root, and no sudo without a password: if 'usernetes check' names something, have an administrator run the playbook"
  fi
  rm -f "$log"
fi

if [ -n "$site_cache" ]; then
  say "the bundle of $site_cache"
  exit 0
fi
say "the bundle (cache $cache)"
mkdir -p "$cache"
"$venv/bin/usernetes" bundle build --cache "$cache" "${components[@]}" >/dev/null
