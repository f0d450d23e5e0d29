#!/usr/bin/env bash
# Draws what a run of `make bench` measured, as PNG and SVG. Usage: plot.sh RESULTS.jsonl FOLDER
#
# recall_latency   recall@10 and @50 against the time of one search, every engine, at the most rows that others took part
# latency_rows     time of one search against rows
# costs_rows       CPU to take up a row, and memory per row, against rows
# clients          searches per second against clients, through gRPC
# A picture whose lines are missing in RESULTS is left out.
set -euo pipefail
results=${1:?usage: plot.sh RESULTS.jsonl FOLDER} folder=${2:?usage: plot.sh RESULTS.jsonl FOLDER}
mkdir -p "$folder"
work=$(mktemp -d "${TMPDIR:-/tmp}/indexd-plot-XXXXXX")
trap 'rm -rf "$work"' EXIT

# ours: full lines; others: broken ones
style_of() {
    case $1 in
    hnsw) echo "lw 2.5 pt 7 ps 0.9 lc rgb '#0b5fa5'" ;;
    scan) echo "lw 2.5 pt 5 ps 0.9 lc rgb '#1a8a3a'" ;;
    exact) echo "lw 2.5 pt 9 ps 1.1 lc rgb '#111111'" ;;
    hnswlib) echo "lw 2 dt 2 pt 6 ps 0.9 lc rgb '#d9541e'" ;;
    faiss-hnsw) echo "lw 2 dt 2 pt 4 ps 0.9 lc rgb '#9a3fb5'" ;;
    faiss-flat) echo "lw 2 dt 2 pt 8 ps 1.1 lc rgb '#8a8a8a'" ;;
    *) echo "lw 2 dt 4 pt 2" ;;
    esac
}
engines="hnsw scan exact hnswlib faiss-hnsw faiss-flat"

# data FILE FILTER: tab-separated numbers of the lines that the jq filter picks; false when there are none
data() {
    jq -r "$2 | map(tostring) | @tsv" "$results" | tac | sort -g -k1,1 -s -u >"$work/$1" # measured twice: the later
    [ -s "$work/$1" ]
}

# curves PREFIX COLUMNS WITH [TITLE]: the plot arguments of all engines that have a file PREFIX-ENGINE
curves() {
    local prefix=$1 columns=$2 with=$3 engine list=""
    for engine in $engines; do
        [ -s "$work/$prefix-$engine" ] || continue
        list+="${list:+, }'$work/$prefix-$engine' using $columns with $with $(style_of "$engine") title '$engine'"
    done
    echo "$list"
}

# draw NAME WIDTH HEIGHT: the gnuplot commands on the standard input, once for each format
draw() {
    local name=$1 width=$2 height=$3
    cat >"$work/commands"
    for format in png svg; do
        case $format in
        png) echo "set terminal pngcairo size $((width * 3 / 2)),$((height * 3 / 2)) fontscale 1.5 linewidth 1.3 pointscale 1.3 font 'DejaVu Sans,9' background 'white'" ;;
        svg) echo "set terminal svg size $width,$height font 'DejaVu Sans,11' background 'white'" ;;
        esac >"$work/script"
        cat - "$work/commands" >>"$work/script" <<SETUP
set output '$folder/$name.$format'
set grid lt 1 lw 0.7 lc rgb '#d8d8d8'
set border 3 lc rgb '#555555'
set tics nomirror
set key top left Left reverse samplen 3 spacing 1.1
SETUP
        gnuplot "$work/script"
    done
    echo "$folder/$name.png"
}

# 1000000 -> 1,000,000
grouped() {
    sed -E ':more; s/([0-9])([0-9]{3})($|,)/\1,\2\3/; t more' <<<"$1"
}
times='set ytics ("20 us" 20, "50 us" 50, "100 us" 100, "200 us" 200, "500 us" 500, "1 ms" 1e3, "2 ms" 2e3, "5 ms" 5e3,
    "10 ms" 1e4, "20 ms" 2e4, "50 ms" 5e4, "100 ms" 1e5, "200 ms" 2e5, "500 ms" 5e5, "1 s" 1e6)'
times=${times//$'\n'/}
numbers='set xtics ("10k" 1e4, "30k" 3e4, "100k" 1e5, "200k" 2e5, "300k" 3e5, "1M" 1e6, "3M" 3e6, "10M" 1e7)'
numbers+=$(jq -rs '[.[] | select(.bench | startswith("race_")).rows] | "\nset xrange [\((min // 1) * 0.8):\((max // 10) * 1.25)]"' "$results")

about=$(jq -rs '[.[] | select(.commit != null)] | if length == 0 then "" else last |
    "\(.cpu), \(.dim) dimensions, seed \(.seed), commit \(.commit)\(if .dirty then " and changes" else "" end)" end' "$results")

# ---------------------------------------------------------------- recall against latency
rows=$(jq -s '[.[] | select(.bench == "race_search")] |
    ([.[] | select(.engine == "hnswlib").rows] | max) // ([.[].rows] | max) // 0' "$results")
found=false
for engine in $engines; do
    # What is missing from full recall, at least what a plot can show; time of the searching thread.
    data "recall-$engine" "select(.bench == \"race_search\" and .engine == \"$engine\" and .rows == $rows and .batch == 1
        and .effort != \"default\") | [.ef // .effort // 0, .best_p50_cpu_us, ([1 - .recall_at_10, 0.0004] | max), ([1 - .recall_at_50, 0.0004] | max)]" &&
        found=true
done
if $found; then
    draw recall_latency 1100 520 <<PLOT
set multiplot layout 1,2 title "Time of one search against recall, $(grouped "$rows") rows\n{/*0.75 $about; one thread, the median of its CPU time; k = 50}"
set logscale xy
set xrange [0.2:0.00035]
$times
set xtics ("0.80" 0.2, "0.90" 0.1, "0.95" 0.05, "0.98" 0.02, "0.99" 0.01, "0.995" 0.005, "0.998" 0.002, "0.999" 0.001, "1" 0.0004)
set xlabel "recall@10" noenhanced
plot $(curves recall 3:2 linespoints)
set xlabel "recall@50" noenhanced
set key off
plot $(curves recall 4:2 linespoints)
unset multiplot
PLOT
fi

# ---------------------------------------------------------------- latency against rows
found=false
for engine in $engines; do
    case $engine in
    exact | faiss-flat) data "rows-$engine" "select(.bench == \"race_search\" and .engine == \"$engine\" and .batch == 1) |
        [.rows, .best_p50_cpu_us]" && found=true ;;
    *) data "rows-$engine" "select(.bench == \"race_at_recall\" and .engine == \"$engine\" and .recall_among == 10 and
        .recall == 0.985 and .us != null) | [.rows, .us]" && found=true ;;
    esac
done
if $found; then
    draw latency_rows 760 520 <<PLOT
set title "Time of one search against rows (recall\\\\@10 0.985, or exact)\n{/*0.75 $about; one thread, the median of its CPU time; k = 50}"
set logscale xy
$numbers
$times
set xlabel "rows"
plot $(curves rows 1:2 linespoints)
PLOT
fi

# ---------------------------------------------------------------- costs against rows
found=false
for engine in $engines; do
    data "costs-$engine" "select(.bench == \"race_build\" and .engine == \"$engine\" and .engine != \"exact\") |
        [.rows, .cpu_us_per_row, .index_bytes_per_row // .resident_bytes_per_row]" && found=true
done
if $found; then
    draw costs_rows 1100 480 <<PLOT
set multiplot layout 1,2 title "What a row costs\n{/*0.75 $about; CPU of all threads; indexes of hnswlib and FAISS hold the float rows, too}"
set logscale xy
$numbers
set xlabel "rows"
set ylabel "microseconds of CPU to take up a row"
set yrange [1:*]
set key left center
plot $(curves costs 1:2 linespoints)
set ylabel "bytes of the index per row"
unset logscale y
set yrange [0:*]
set key off
plot $(curves costs 1:3 linespoints)
unset multiplot
PLOT
fi

# ---------------------------------------------------------------- searches per second against clients
found=false
rows=$(jq -s '[.[] | select(.bench == "clients").rows] | max // 0' "$results")
for engine in $engines; do
    data "clients-$engine" "select(.bench == \"clients\" and .serving == \"$engine\" and .rows == $rows) |
        [.clients, .searches_per_s]" && found=true
done
if $found; then
    inside=""
    for engine in hnswlib faiss-hnsw; do
        qps=$(jq -s "[.[] | select(.bench == \"race_threads\" and .engine == \"$engine\" and .rows == $rows)] |
            if length == 0 then empty else (max_by(.threads) | .searches_per_s) end" "$results")
        [ -z "$qps" ] || inside+=", $qps with lines $(style_of "$engine" | sed -E 's/ p[ts] [0-9.]+//g') title '$engine in process, a thread per core'"
    done
    draw clients 760 520 <<PLOT
set title "Searches per second through gRPC on loopback, $(grouped "$rows") rows\n{/*0.75 $about; client and server on the same cores}"
set logscale x 2
set yrange [0:*]
set xlabel "clients"
set ylabel "searches per second"
plot $(curves clients 1:2 linespoints)$inside
PLOT
fi
