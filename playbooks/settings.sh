# Where bootstrap.sh puts things; read by the scripts beside it.
# As root they go where an unprivileged user can read them: the checkout itself may be out of that user's reach.
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
demo_user=${USERNETES_USER:-usernetes}
if [ "$(id -u)" = 0 ]; then
  base=/var/lib/usernetes
  venv=$base/venv
  cache=$base/cache
else
  base=$checkout
  venv=$checkout/.venv
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/usernetes
fi
# A site's bundle, made by its administrator: used as it is, nothing is built.
site_cache=${USERNETES_BUNDLE_CACHE:-}
[ -z "$site_cache" ] || cache=$site_cache
