# Shared by the scripts of this directory; source it, do not run it.
# After sourcing: strict mode, the repository's root as working directory and in $ROOT, cargo on the PATH.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"

# rustup's place, when the caller's shell has not read its profile (cron, CI, su)
if ! command -v cargo >/dev/null 2>&1 && [ -n "${HOME:-}" ]; then
    PATH=$PATH:$HOME/.cargo/bin
fi

TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}
PG15_BIN=/usr/lib/postgresql/15/bin

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
fail() {
    warn "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# The ordinary user that servers run as when this script is root: PostgreSQL refuses to run as root.
server_account() {
    if ! is_root; then
        id -un
    elif id -u postgres >/dev/null 2>&1; then
        say postgres
    else
        say nobody
    fi
}

# as_account COMMAND...: runs it as the server account, without supplementary groups, in the present directory.
as_account() {
    if is_root; then
        local account
        account=$(server_account)
        setpriv --reuid="$account" --regid="$(id -g "$account")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

# Where PostgreSQL versions that Debian does not have are kept. Normally below target/; when this is root and the
# server account cannot reach the working copy (a checkout below /root), in the machine's cache instead.
test_servers_dir() {
    if [ -n "${PGV_TEST_SERVERS:-}" ]; then
        say "$PGV_TEST_SERVERS"
    elif is_root && have setpriv && ! as_account test -x "$ROOT" 2>/dev/null; then
        say /var/cache/pgv-test-servers
    else
        say "$TARGET_DIR/test-servers"
    fi
}

# phase NAME COMMAND...: runs the command between a heading and a line with the seconds it took.
phase() {
    local name=$1 started=$SECONDS
    shift
    say "== $name"
    local status=0
    "$@" || status=$?
    if [ "$status" -ne 0 ]; then
        say "== $name: FAILED with status $status after $((SECONDS - started)) s"
        return "$status"
    fi
    say "== $name: $((SECONDS - started)) s"
}
