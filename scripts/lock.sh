#!/bin/sh
# Renew requirements.lock and requirements-lab.lock from pyproject.toml; needs uv.
#   sh scripts/lock.sh             add what pyproject.toml newly asks for, keep the other versions
#   sh scripts/lock.sh --upgrade   take the newest version of everything
# The files pin every package by hash, for Python 3.11 to 3.14 on each platform, and name no
# package index. torch is not in them: see the train extra in pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || {
    echo "uv was not found: install it (python -m pip install uv) and run this again." >&2
    exit 2
}

compile() {
    uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest \
        --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --extra book --extra test --group lint --group build --quiet "$@"
}

compile "$@" --output-file requirements.lock
compile "$@" --constraint requirements.lock --extra lab --output-file requirements-lab.lock

# Every package has a wheel everywhere: setup never compiles anything.
for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do
    for version in 3.11 3.12 3.13 3.14; do
        for lock in requirements.lock requirements-lab.lock; do
            MACOSX_DEPLOYMENT_TARGET=14.0 uv pip compile "$lock" --no-deps --only-binary :all: \
                --python-platform "$platform" --python-version "$version" --quiet >/dev/null
        done
    done
done
