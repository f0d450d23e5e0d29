#!/usr/bin/env bash
# Clients that are not ours against the real server: Debian's python3-grpcio (stubs from the schemas), grpc-js (schemas
# read at run time) and a client that knows reflection only. Closes with "N passed, N failed".
#
# Environment: INDEXD_BIN. The Node packages of package.json are installed once, into build/interop.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
here=$PWD/tests/interop packages=$PWD/build/interop
work=$(mktemp -d "${TMPDIR:-/tmp}/indexd-interop-XXXXXX") || exit 2
pid=

finish() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT

die() {
    echo "interop: $*" >&2
    [ ! -s "$work/log" ] || tail -n 5 "$work/log" >&2
    echo "0 passed, 1 failed"
    exit 1
}

# The server says on a pipe when it serves.
start() {
    "${INDEXD_BIN:?run this with make}" init --data "$work/data" >/dev/null || die "indexd init"
    mkfifo "$work/out"
    "$INDEXD_BIN" serve --data "$work/data" --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
    pid=$!
    read -r line <"$work/out" || die "the server ended before it served"
    address=${line#indexd: serving on }
}

install() {
    mkdir -p "$packages"
    cmp -s "$here/package.json" "$packages/installed.json" && return
    rm -rf "$packages/node_modules"
    cp "$here/package.json" "$packages/package.json"
    (cd "$packages" && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 ||
        die "npm install"
    cp "$here/package.json" "$packages/installed.json"
}

# Python stubs; those of other packages under plain names, beside the modules grpc and google that are there already.
generate() {
    mkdir -p "$work/python"
    protoc -Ischemas --python_out="$work/python" schemas/indexd/v1/*.proto || die "protoc"
    protoc -Ischemas/grpc/health/v1 --python_out="$work/python" health.proto || die "protoc"
    protoc -Ischemas/google/rpc --python_out="$work/python" status.proto || die "protoc"
}

# Each check is a line "ok …" or "FAIL …" on stdout; a client that ends before its last line, "done", has failed.
client() {
    local name=$1
    shift
    timeout 120 "$@" </dev/null >"$work/$name.out" || true
    cat "$work/$name.out"
    passed=$((passed + $(grep -c '^ok ' "$work/$name.out")))
    failed=$((failed + $(grep -c '^FAIL ' "$work/$name.out")))
    grep -qx 'done' "$work/$name.out" || {
        echo "FAIL $name: ended before its last check"
        failed=$((failed + 1))
    }
}

passed=0 failed=0
install
generate
start
client python env PYTHONPATH="$work/python" /usr/bin/python3 "$here/client.py" "$address"
client node env NODE_PATH="$packages/node_modules" node "$here/client.js" "$address" "$PWD/schemas"
client reflection env NODE_PATH="$packages/node_modules" node "$here/reflection.js" "$address"
kill -TERM "$pid"
wait "$pid"
rc=$?
pid=
if [ "$rc" = 0 ]; then
    echo "ok server: an orderly stop after all of them"
    passed=$((passed + 1))
else
    echo "FAIL server: ended with $rc"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
