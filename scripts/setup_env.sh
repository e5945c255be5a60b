#!/bin/sh
# Make the folder .venv with the packages of requirements.lock and this project, editable.
# Run by `make setup`. Does nothing when .venv is up to date; starts anew when the last run was
# interrupted. PYTHON names the Python to use; by default the first suitable one on PATH.
set -u
cd "$(dirname "$0")/.." || exit 2

venv=.venv
stamp=$venv/.bitbybit-setup # "unfinished", or what .venv was made from; written last
log=$venv/setup.log
needed_mb=1000

die() {
    printf '%s\n' "$*" >&2
    exit 2
}

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" && { printf '%s' "$PYTHON"; return 0; }
        die "PYTHON=$PYTHON is not a working Python 3.11 to 3.14: name another one."
    fi
    for candidate in python3 python3.13 python3.12 python3.14 python3.11 python; do
        suitable "$candidate" && { printf '%s' "$candidate"; return 0; }
    done
    found=$(python3 --version 2>&1 | head -n 1) || found="no python3"
    die "Python 3.11 to 3.14 is needed, but only this was found: ${found:-nothing}." \
        "Install one, or name it: make setup PYTHON=/path/to/python3.12"
}

# Turn the log of a failed step into one sentence.
explain() {
    if grep -qiE 'no space left|disk quota|errno 28' "$log" 2>/dev/null || ! : >>"$log"; then
        die "The disk is full: free about $needed_mb MB and run make setup again."
    elif grep -q 'DO NOT MATCH THE HASHES' "$log"; then
        die "A downloaded package is not the one that requirements.lock names; see $log."
    elif grep -qiE 'connection|timed out|timeout|name resolution|name or service|unreachable|proxy|max retries|ssl' "$log"; then
        die "The packages could not be downloaded: check the network (or the proxy, or pip's" \
            "settings) and run make setup again; the whole story is in $log."
    fi
    die "The packages could not be installed: $(grep -iE '^ *error' "$log" | tail -n 1)" \
        "See $log; the next make setup starts anew."
}

step() {
    "$@" >>"$log" 2>&1 </dev/null || explain
}

pip_install() {
    # Byte code is written when a module is first used: less to wait for, 100 MB less to keep.
    step "$venv/bin/python" -m pip --disable-pip-version-check install --no-input --no-compile "$@"
}

make_venv() {
    python=$(find_python) || exit 2
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        die "$("$python" --version) has no venv module: install it" \
            "(on Debian or Ubuntu: apt-get install python3-venv) and run make setup again."
    [ -w . ] || die "This folder cannot be written: .venv must be made here. Copy it elsewhere."
    rm -rf "$venv" # before measuring: it may be the 650 MB that were missing
    free_mb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free_mb:-$needed_mb}" -ge "$needed_mb" ] ||
        die "There are $free_mb MB free here and setup needs $needed_mb:" \
            "make room and run make setup again."
    mkdir "$venv" && echo unfinished >"$stamp" ||
        die "The folder .venv cannot be made here: check the folder's permissions and the disk."
    step "$python" -m venv "$venv"
}

digest=$(cat requirements.lock pyproject.toml | cksum)
here=$(pwd -P)
if [ -f "$stamp" ]; then
    { read -r made_from; read -r made_in; } <"$stamp" 2>/dev/null
    if [ "${made_in:-}" = "$here" ] && suitable "$venv/bin/python"; then
        [ "$made_from" = "$digest" ] && exit 0
        : >"$log"
    else
        echo "The folder .venv is unfinished or from elsewhere: starting anew." >&2
        make_venv
    fi
elif [ -e "$venv" ]; then
    die "The folder .venv was not made by make setup: move it away and run make setup again."
else
    make_venv
fi

echo "Installing the packages of requirements.lock into .venv (about a minute, 650 MB) ..." >&2
echo unfinished >"$stamp"
pip_install --require-hashes --only-binary :all: -r requirements.lock
pip_install --no-deps --no-build-isolation --editable .
printf '%s\n%s\n' "$digest" "$here" >"$stamp" || explain
echo "Ready: .venv" >&2
