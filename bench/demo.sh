#!/usr/bin/env bash
# The main job, visibly: enrol, search, expunge, kill -9, restart, and what each engine is worth on these embeddings.
#
# DATA=PREFIX uses PREFIX_gallery.fvecs, .records, .subjects, .arrests, PREFIX_probes.fvecs, .subjects and
# PREFIX_gt100.ivecs; without it, synthetic faces are made (DEMO_ROWS of them, 20000). Ends with exit status 0 when
# everything that it says was checked, and leaves no process behind.
set -euo pipefail

indexd=${INDEXD_BIN:?run it by make demo} indexctl=${INDEXCTL_BIN:?} tools=${INDEXD_BENCH:?}
rows=${DEMO_ROWS:-20000}
work=$(mktemp -d "${TMPDIR:-/tmp}/indexd-demo-XXXXXX")
pid=

finish() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'demo: %s\n' "$*" >&2
    tail -n 5 "$work/log" >&2
    exit 1
}
ctl() { "$indexctl" --server "$address" "$@"; }

start() {
    : >"$work/out"
    "$indexd" serve --data "$work/data" --listen 127.0.0.1:0 >"$work/out" 2>>"$work/log" &
    pid=$!
    until address=$(sed -n 's/^indexd: serving on //p' "$work/out") && [ -n "$address" ]; do
        kill -0 "$pid" 2>/dev/null || fail "the server ended before it served"
        sleep 0.05
    done
    echo "indexd: serving on $address"
}

# field NAME: reads one JSON object per line, prints that field of the first.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/;ta;b;:a;p;q"; }
line() { sed -n "$1{p;q}" "$2"; }

say "Data"
data=${DATA:-}
if [ -z "$data" ]; then
    data=$work/faces
    "$tools/make_people" --rows "$rows" --probes 1000 --dim 512 --seed 1 --truth "$data"
    echo "synthetic faces: $rows photos, 1000 probes, 512 dimensions, seed 1"
else
    [ -r "${data}_gallery.fvecs" ] || fail "${data}_gallery.fvecs cannot be read: DATA is the part before _gallery.fvecs"
    echo "$data"
fi
dim=$(od -An -t d4 -N 4 "${data}_gallery.fvecs" | tr -d ' ')
n=$(wc -l <"${data}_gallery.records")

say "A fresh data directory, a server, a gallery"
"$indexd" init --data "$work/data"
start
ctl gallery create arrests --dim "$dim" --embedder demo-net
ctl gallery list

say "Enrol $n photos"
ctl import arrests "${data}_gallery.fvecs" --records "${data}_gallery.records" \
    --subjects "${data}_gallery.subjects" --arrests "${data}_gallery.arrests"
[ "$(ctl --json gallery show arrests | field records)" = "$n" ] || fail "not every photo is enrolled"

say "Search: three probes, five candidates each; leads for an examiner, not identifications"
# The first three probes whose person is enrolled.
awk 'NR == FNR { enrolled[$0]; next } $0 in enrolled { print FNR - 1, $0; if (++n == 3) exit }' \
    "${data}_gallery.subjects" "${data}_probes.subjects" >"$work/mated"
while read -r probe person; do
    ctl --json search arrests --probe "${data}_probes.fvecs:$probe" -k 5 >"$work/found"
    printf 'probe %s (person %s)\n' "$probe" "$person"
    grep -o '{"rank":[^}]*}' "$work/found" | while read -r candidate; do
        mate='-'
        [ "$(field subject_id <<<"$candidate")" != "$person" ] || mate='true mate'
        printf '  %2s  %-18s %-12s cosine %-8s %s\n' "$(field rank <<<"$candidate")" \
            "$(field record_id <<<"$candidate")" "$(field subject_id <<<"$candidate")" \
            "$(field cosine <<<"$candidate")" "$mate"
    done
done <"$work/mated"

say "What each engine is worth on these embeddings (through gRPC, one probe at a time)"
lists=64
[ "$n" -lt 12000 ] || lists=128
"$tools/engines" --server "$address" --gallery arrests --data "$data" scan hnsw "faiss:IVF$lists,Flat" "faiss:IVF$lists,SQ8" \
    "faiss:IVF$lists,PQ$((dim / 4))x4fs" "faiss:HNSW32,SQ8"

say "Back to the exact scan, then expunge one sealed arrest"
ctl gallery build arrests --engine auto --wait
read -r probe person <"$work/mated"
row=$(grep -nxm 1 -- "$person" "${data}_gallery.subjects" | cut -d: -f1)
arrest=$(line "$row" "${data}_gallery.arrests")
record=$(line "$row" "${data}_gallery.records")
n_arrest=$(grep -cx -- "$arrest" "${data}_gallery.arrests")
ctl expunge arrests --arrest "$arrest" --order "demo order 1" --dry-run
ctl expunge arrests --arrest "$arrest" --order "demo order 1" --expect "$n_arrest" --wait
ticket=$(ctl --json ticket list | field ticket_id)
ctl ticket show "$ticket"

say "Its certificate, checked offline; one flipped byte is noticed"
ctl certificate key --out "$work/certificate.pub"
ctl certificate get "$ticket" --out "$work/certificate"
ctl certificate verify "$work/certificate" --key "$work/certificate.pub"
ctl certificate show "$work/certificate" --key "$work/certificate.pub"
sed 's/demo order 1/demo order 2/' "$work/certificate" >"$work/forged"
! ctl certificate verify "$work/forged" --key "$work/certificate.pub" || fail "a forged certificate was accepted"

gone() {
    ctl --json search arrests --probe "${data}_gallery.fvecs:$((row - 1))" -k 50 >"$work/found"
    ! grep -q "\"arrest_id\":\"$arrest\"" "$work/found" || fail "arrest $arrest is still found"
    [ "$(ctl --json record get arrests "$record" 2>/dev/null | wc -l)" = 0 ] || fail "record $record is still there"
    [ "$(ctl --json gallery show arrests | field records)" = $((n - n_arrest)) ] || fail "the count is wrong"
    echo "arrest $arrest: no photo found with its own embedding, no record, $((n - n_arrest)) of $n photos left"
}
gone
if ctl import arrests "${data}_gallery.fvecs" --records "${data}_gallery.records" --subjects "${data}_gallery.subjects" \
    --arrests "${data}_gallery.arrests" --skip $((row - 1)) --batch 1 --quiet 2>"$work/refused"; then
    fail "the expunged photo could be enrolled again"
fi
echo "enrolling it again: $(cat "$work/refused")"

say "kill -9, restart"
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
start
gone

say "Stop"
kill "$pid"
wait "$pid" || fail "the server did not stop in order"
pid=
echo "demo: all of it was checked"
