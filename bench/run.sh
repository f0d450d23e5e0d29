#!/usr/bin/env bash
# What `make bench` runs: one JSON line per figure, into build/bench/results.jsonl and on the standard output; then a table
# (results.md) and pictures beside it. Run it on a machine that does nothing else.
#
# BENCH_PARTS           what is run: "race growth serving erase recall" (all)
# BENCH_RACE_ROWS       rows of the race against hnswlib and FAISS (200000); BENCH_RACE_OPTIONS: more of its options
# BENCH_GROWTH          numbers of rows that our engines are raced at alone ("10000 30000 100000 300000")
# BENCH_ROWS            rows of a server under load (100000), for each of BENCH_ENGINES ("auto faiss:IVF256,SQ8")
# BENCH_ERASE_ROWS      rows of the removals (100000), with BENCH_ERASE_ENGINE (faiss:IVF256,SQ8)
# DATA=PREFIX           recall on real embeddings in the place of generated ones
set -euo pipefail
tools=${INDEXD_BENCH:?run it by make bench} indexd=${INDEXD_BIN:?} indexctl=${INDEXCTL_BIN:?}
parts=${BENCH_PARTS:-race growth serving erase recall}
race_rows=${BENCH_RACE_ROWS:-200000} growth=${BENCH_GROWTH:-10000 30000 100000 300000}
read -ra race_options <<<"${BENCH_RACE_OPTIONS:-}"
rows=${BENCH_ROWS:-100000}
read -ra engines <<<"${BENCH_ENGINES:-auto faiss:IVF256,SQ8}"
erase_rows=${BENCH_ERASE_ROWS:-100000} erase_engine=${BENCH_ERASE_ENGINE:-faiss:IVF256,SQ8}
here=$(dirname "$0") results=$tools/results.jsonl
INDEXD_COMMIT=$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)
export INDEXD_COMMIT
: >"$results"

wanted() { [[ " $parts " == *" $1 "* ]]; }

work=$(mktemp -d "${TMPDIR:-/tmp}/indexd-bench-XXXXXX")
pid=
finish() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# start DIR: a server on a new data directory; sets pid and address.
start() {
    "$indexd" init --data "$1" >"$work/out"
    "$indexd" serve --data "$1" --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
    pid=$!
    until address=$(sed -n 's/^indexd: serving on //p' "$work/out") && [ -n "$address" ]; do
        kill -0 "$pid"
        sleep 0.05
    done
}

# ---------------------------------------------------------------- in process, against others; then ours alone, larger and larger
mkdir -p "$tools/truth"
if wanted race; then
    "$tools/race" --rows "$race_rows" --measure search,threads,crew,insert,remove,churn --work "$tools/truth" \
        "${race_options[@]}" | tee -a "$results"
fi
if wanted growth; then
    for n in $growth; do
        [ "$n" != "$race_rows" ] || ! wanted race || continue
        "$tools/race" --rows "$n" --engines hnsw,scan,exact,faiss-flat --probes 500 --exhaustive-probes 50 --passes 1 \
            --measure search,insert --work "$tools/truth" "${race_options[@]}" | tee -a "$results"
    done
fi

# ---------------------------------------------------------------- a server under the loads of its users
if wanted serving; then
    for engine in "${engines[@]}"; do
        "$tools/serving" --rows "$rows" --engine "$engine" 2>"$tools/serving.log" | grep '^{' | tee -a "$results"
    done
fi

# ---------------------------------------------------------------- removal by order, until it is VERIFIED
if wanted erase && [ "$erase_rows" -gt 0 ]; then
    start "$work/erase"
    "$tools/erase" --server "$address" --rows "$erase_rows" --engine "$erase_engine" --sync-dir "$work" |
        tee -a "$results"
    kill "$pid"
    wait "$pid"
    pid=
    rm -rf "$work/erase"
fi

# ---------------------------------------------------------------- recall and latency per engine, on DATA or on synthetic faces
if wanted recall; then
    data=${DATA:-$work/faces}
    [ -n "${DATA:-}" ] || "$tools/make_people" --rows 20000 --probes 1000 --seed 1 --truth "$data"
    dim=$(od -An -t d4 -N 4 "${data}_gallery.fvecs" | tr -d ' ')
    start "$work/data"
    "$indexctl" --server "$address" gallery create bench --dim "$dim" --embedder bench >/dev/null
    "$indexctl" --server "$address" --quiet import bench "${data}_gallery.fvecs" --records "${data}_gallery.records" \
        --subjects "${data}_gallery.subjects" --arrests "${data}_gallery.arrests" >/dev/null
    "$tools/engines" --json --server "$address" --gallery bench --data "$data" flat scan hnsw faiss:IVF128,Flat \
        faiss:IVF128,SQ8 "faiss:IVF128,PQ$((dim / 4))x4fs" faiss:HNSW32,Flat faiss:HNSW32,SQ8 | tee -a "$results"
fi

"$here/table.sh" "$results" | tee "$tools/results.md"
"$here/plot.sh" "$results" "$tools"
echo "written to $results, $tools/results.md and the pictures above"
