# Sourced by the other scripts: makes .venv, or mends it when it is out of date.
#
# What .venv holds is known by a stamp: a hash of what was asked for. Two first starts at once do not harm each
# other, for one waits until the other is done.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv="$root/.venv"

# Sets up .venv with the extra $1 ("plot" or "dev"); does nothing, in a few milliseconds, where it is there already.
set_up() {
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    stamp="$venv/.stamp-$1"
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted $root" ] && return
    python=$(find_python) || exit 1
    lock="$root/.venv.lock"
    waited=0
    until mkdir "$lock" 2>/dev/null; do
        owner=$(cat "$lock/pid" 2>/dev/null || true)
        [ "$waited" != 2 ] || echo "digitnet: waiting for another start to set up .venv" >&2
        # Its maker is gone, or was killed before it could say who it is.
        if { [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; } || { [ -z "$owner" ] && [ "$waited" -gt 10 ]; }; then
            rm -rf "$lock"
        else
            sleep 1
        fi
        waited=$((waited + 1))
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted $root" ]; then
        install "$1"
        [ "$1" != dev ] || echo "$wanted $root" >"$venv/.stamp-plot" # dev brings all of plot
        echo "$wanted $root" >"$stamp"
    fi
    rm -rf "$lock"
    trap - EXIT INT TERM
}

install() {
    echo "digitnet: setting up .venv; this takes a few minutes, once" >&2
    rm -f "$venv"/.stamp-*
    # A folder that was moved, or whose Python is gone, is made anew.
    if ! "$venv/bin/python" -c "import sys; sys.exit(sys.prefix != '$venv')" 2>/dev/null; then
        rm -rf "$venv"
        "$python" -m venv "$venv" || {
            rm -rf "$venv"
            echo "error: $python cannot make a virtual environment; on Debian, install python3-venv" >&2
            exit 1
        }
    fi
    "$venv/bin/python" -m pip install --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root[$1]" >&2 || {
        echo "error: the packages could not be installed; see the lines above" >&2
        exit 1
    }
}

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "error: digitnet needs Python 3.11 or newer, and none is on the path" >&2
    return 1
}
