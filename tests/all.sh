#!/usr/bin/env bash
# Every proof in order; goes on after a failure and closes with the sum. Usage: tests/all.sh quick|full
#
# A step that is no test run (format, a build, the demo) counts as one. Its output is shown only when it fails.
# DEMO_DATA=PREFIX runs the demo on PREFIX_gallery.fvecs as well.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
mode=${1:-full} make=${MAKE:-make}
logs=build/log/steps
mkdir -p "$logs"
export TALLY=$PWD/$logs/tally
: >"$TALLY"

failed_step() {
    echo "FAIL  $1 (log: $2)"
    tail -n 40 "$2" | sed 's/^/      | /'
    echo "0 1" >>"$TALLY"
}

# step NAME COMMAND…: quiet, counts as one.
step() {
    local name=$1 log begin=$SECONDS
    log=$logs/$1.log
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        printf 'ok    %-36s %13d s\n' "$name" $((SECONDS - begin))
        echo "1 0" >>"$TALLY"
    else
        failed_step "$name" "$log"
    fi
}

# tests TITLE MAKE-ARGUMENT…: a run of test programs, which adds to the tally itself.
tests() {
    local title=$1 log begin=$SECONDS before after
    log=$logs/$(echo "$1" | tr ' ,' '-').log
    shift
    echo "----  $title"
    before=$(wc -l <"$TALLY")
    "$make" "$@" </dev/null 2>&1 | tee "$log" | grep -vE '^  (CC|LD) |^make'
    after=$(wc -l <"$TALLY")
    # Nothing counted and make failed: the build broke.
    if [ "$before" = "$after" ] && ! grep -q '^no test of this kind' "$log"; then
        failed_step "$title" "$log"
    fi
    echo "----  $((SECONDS - begin)) s"
}

step deps .ci/deps.sh test
step format "$make" check-format
step layers "$make" check-layers
step cppcheck "$make" check-cppcheck
step build "$make" tests-build bench-build
step symbols "$make" check-symbols
# The quick run leaves out what waits for the disk dozens of times.
slow="unit/test_store_erase unit/test_store_erase_traps unit/test_faults unit/test_erase unit/test_backup unit/test_replay"
slow="$slow path/test_backup path/test_bulk path/test_training"
[ "$mode" = full ] && slow=
tests "unit tests" SKIP="$slow" test-unit
tests "path tests" SKIP="$slow" test-path

if [ "$mode" = full ]; then
    step build-clang "$make" CC=clang tests-build bench-build
    # These mostly wait: what comes next is built meanwhile. Should that fail, the next tests fail and say so.
    for san in address,undefined thread; do
        nice "$make" SAN=$san tests-build >"$logs/build-$san.log" 2>&1 </dev/null
    done &
    tests "crash tests" test-crash
    tests "erasure tests" test-erasure
    tests "foreign clients" test-interop
    wait
    tests "unit tests, address and undefined" SAN=address,undefined test-unit
    tests "path tests, address and undefined" SAN=address,undefined test-path
    # FAISS and OpenMP are not instrumented, so ThreadSanitizer sees through the flat engine only: INDEXD_TEST_ENGINE
    # tells the tests. The files about FAISS stay out, and those in which (almost) nothing of ours has a second thread.
    export INDEXD_TEST_ENGINE=flat
    alone="unit/test_people unit/test_simd_codes unit/test_store_erase unit/test_store_erase_traps"
    faiss="unit/test_engine_faiss unit/test_engine_faiss_file unit/test_engine_faiss_train"
    tests "unit tests, thread" SAN=thread SKIP="$alone $faiss" test-unit
    # What a server refuses to start on, and lists that one client works off, race with nobody.
    tests "path tests, thread" SAN=thread SKIP="path/test_start path/test_bulk path/test_doctor" test-path
    unset INDEXD_TEST_ENGINE
    tests "fuzzers" fuzz
    if [ -x bench/demo.sh ]; then
        step demo "$make" demo
        [ -z "${DEMO_DATA:-}" ] || step "demo-$(basename "$DEMO_DATA")" "$make" demo DATA="$DEMO_DATA"
    fi
fi

awk '{ p += $1; f += $2 } END { printf "%d passed, %d failed\n", p, f; exit f > 0 }' "$TALLY"
