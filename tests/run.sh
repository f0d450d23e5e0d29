#!/usr/bin/env bash
# Runs test programs, some at a time, and counts their checks. Usage: tests/run.sh PROGRAM…
#
# Environment: LOG (folder of the logs), INDEXD_SAN (sanitizer of the programs), TEST_JOBS (programs at a time, 3: they wait for the disk more than they compute),
# TEST_FACTOR (multiplies every time limit), TALLY (file that gets "passed failed" appended), FUZZ_SECONDS.
# A program is a Check runner, a fuzzer, or a script that closes with "N passed, N failed". One that ran nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
export LOG=${LOG:-build/log} INDEXD_SAN=${INDEXD_SAN:-} FUZZ_SECONDS=${FUZZ_SECONDS:-20}
here=$PWD

# The name of a program in logs: kind/program.
name_of() {
    local kind
    kind=$(basename "$(dirname "$1")")
    echo "$kind/$(basename "$1" .sh)"
}

# The programs, those that take longest first: else one of them runs alone at the end.
longest="test_kill test_erase_steps test_faults test_erase test_store_erase test_build test_engines test_search test_bulk"
longest="$longest test_memory test_store_erase_traps test_scan test_start"
in_order() {
    local name program
    for name in $longest; do
        for program in "$@"; do
            [ "${program##*/}" != "$name" ] || echo "$program"
        done
    done
    for program in "$@"; do
        [[ " $longest " == *" ${program##*/} "* ]] || echo "$program"
    done
}

# Sets the time limits for a kind of tests: the whole program's, and that of one check. They end what hangs; a machine
# that is some times as slow as a quiet one does not reach them.
limits() {
    local factor=${TEST_FACTOR:-1}
    [ -n "$INDEXD_SAN" ] && factor=$((factor * 4))
    [ -n "${INDEXD_TEST_LONG:-}" ] && factor=$((factor * 10))
    case $1 in
    unit/*) program_s=600 check_s=90 ;;
    path/*) program_s=1800 check_s=600 ;;
    fuzz/*) program_s=$((FUZZ_SECONDS + 120)) check_s=0 ;;
    crash/*) program_s=1200 check_s=1140 ;;
    *) program_s=1200 check_s=300 ;;
    esac
    program_s=$((program_s * factor)) check_s=$((check_s * factor))
}

sanitizer_options() {
    [ -n "$INDEXD_SAN" ] || return 0
    export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
    export TSAN_OPTIONS="suppressions=$here/tests/tsan.supp:second_deadlock_stack=1:die_after_fork=0:ignore_noninstrumented_modules=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}"
    export LSAN_OPTIONS="suppressions=$here/tests/lsan.supp:print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}"
}

# Runs a fuzzer on the committed seeds and found cases, then on mutations of them.
fuzz() {
    local work seeds
    work=build/fuzz/$(basename "$1") seeds=tests/fuzz/corpus/$(basename "$1")
    mkdir -p "$work"
    [ -d "$seeds" ] || seeds=
    # shellcheck disable=SC2086
    "$1" -max_total_time="$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$work-" "$work" $seeds
}

one() {
    local program=$1 name log begin rc counts passed failed took program_s check_s
    name=$(name_of "$program") log=$LOG/$(name_of "$program").log
    mkdir -p "$(dirname "$log")"
    limits "$name"
    sanitizer_options
    export CK_DEFAULT_TIMEOUT=$check_s CK_VERBOSITY=normal
    begin=$(date +%s%N)
    if [[ $name == fuzz/* ]]; then
        export -f fuzz
        timeout -k 10 "$program_s" bash -c 'fuzz "$1"' fuzz "$program" >"$log" 2>&1 </dev/null
    else
        timeout -k 10 "$program_s" "$program" >"$log" 2>&1 </dev/null
    fi
    rc=$?
    took=$((($(date +%s%N) - begin) / 100000000))
    # Check closes every suite with "100%: Checks: 4, Failures: 0, Errors: 0".
    counts=$(awk -F'[:,] *' '/^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ { c += $3; f += $5 + $7; n++ }
        /^[0-9]+ passed, [0-9]+ failed/ { split($0, w, " "); last = w[1] " " w[3] }
        END { if (n) print c - f, f; else if (last) print last }' "$log")
    if [[ $name == fuzz/* ]]; then
        counts="$((rc == 0)) 0"
        grep -q '^stat::number_of_executed_units: *[1-9]' "$log" || rc=$((rc ? rc : 99))
    fi
    read -r passed failed <<<"${counts:-0 0}"
    # A crash, a leak report at exit, a time-out, or a program that checked nothing.
    [ "$rc" != 0 ] && [ "$failed" = 0 ] && failed=1
    [ "$rc" = 0 ] && [ "$failed" = 0 ] && [ "$passed" = 0 ] && failed=1 && echo "no check was run" >>"$log"
    echo "$passed $failed" >"${log%.log}.count"
    if [ "$failed" = 0 ]; then
        printf 'ok    %-36s %4d checks %5d.%d s\n' "$name" "$passed" $((took / 10)) $((took % 10))
    else
        [ "$rc" = 124 ] || [ "$rc" = 137 ] && echo "ended after $program_s s" >>"$log"
        printf 'FAIL  %-36s exit status %d, log %s\n%s\n' "$name" "$rc" "$log" "$(tail -n 40 "$log" | sed 's/^/      | /')"
    fi
}

if [ "${1:-}" = --one ]; then
    one "$2"
    exit
fi

rm -f "$LOG"/*/*.count
[ $# -gt 0 ] || {
    echo "no test of this kind"
    exit 0
}
jobs=${TEST_JOBS:-3}
in_order "$@" | xargs -P "$jobs" -I{} "$0" --one {}
passed=0 failed=0
for program in "$@"; do
    read -r p f <"$LOG/$(name_of "$program").count" || {
        p=0
        f=1
    }
    passed=$((passed + p)) failed=$((failed + f))
done
if [ -n "${TALLY:-}" ]; then # tests/all.sh closes with the sum of all runs
    echo "$passed $failed" >>"$TALLY"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ]
