#!/usr/bin/env bash
# What `make bench` runs: one JSON line per figure, into build/bench/results.jsonl and on the standard output.
# BENCH_ROWS (100000) and BENCH_ENGINES ("flat faiss:IVF256,SQ8") choose the size; DATA=PREFIX adds recall on real
# embeddings. Run it on a machine that does nothing else.
set -euo pipefail
tools=${INDEXD_BENCH:?run it by make bench} indexd=${INDEXD_BIN:?} indexctl=${INDEXCTL_BIN:?}
rows=${BENCH_ROWS:-100000}
read -ra engines <<<"${BENCH_ENGINES:-flat faiss:IVF256,SQ8}"
results=$tools/results.jsonl
INDEXD_COMMIT=$(git describe --always --dirty 2>/dev/null || echo unknown)
export INDEXD_COMMIT
: >"$results"

for engine in "${engines[@]}"; do
    "$tools/serving" --rows "$rows" --engine "$engine" 2>"$tools/serving.log" | grep '^{' | tee -a "$results"
done

# Recall and latency per engine, on DATA or on synthetic faces.
work=$(mktemp -d "${TMPDIR:-/tmp}/indexd-bench-XXXXXX")
pid=
finish() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
data=${DATA:-$work/faces}
[ -n "${DATA:-}" ] || "$tools/make_people" --rows 20000 --probes 1000 --seed 1 --truth "$data"
dim=$(od -An -t d4 -N 4 "${data}_gallery.fvecs" | tr -d ' ')
"$indexd" init --data "$work/data" >"$work/out"
"$indexd" serve --data "$work/data" --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
pid=$!
until address=$(sed -n 's/^indexd: serving on //p' "$work/out") && [ -n "$address" ]; do
    kill -0 "$pid"
    sleep 0.05
done
"$indexctl" --server "$address" gallery create bench --dim "$dim" --embedder bench >/dev/null
"$indexctl" --server "$address" --quiet import bench "${data}_gallery.fvecs" --records "${data}_gallery.records" \
    --subjects "${data}_gallery.subjects" --arrests "${data}_gallery.arrests" >/dev/null
"$tools/engines" --json --server "$address" --gallery bench --data "$data" flat faiss:IVF128,Flat faiss:IVF128,SQ8 \
    "faiss:IVF128,PQ$((dim / 4))x4fs" faiss:HNSW32,Flat faiss:HNSW32,SQ8 | tee -a "$results"
echo "written to $results"
