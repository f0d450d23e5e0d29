#!/usr/bin/env bash
# Prints the figures of a race as tables (Markdown). Usage: table.sh RESULTS.jsonl
set -euo pipefail
results=${1:?usage: table.sh RESULTS.jsonl}

# table TITLE HEAD FILTER: the jq filter gives arrays of cells
table() {
    local title=$1 head=$2 cells
    cells=$(jq -r "def us: if . == null then \"-\" elif . >= 100 then round elif . >= 10 then (. * 10 | round / 10)
            else (. * 100 | round / 100) end;
        def share: if . == null then \"-\" else (. * 10000 | round / 10000) end;
        def times: if . == null then \"-\" else \"\(. * 100 | round / 100) x\" end;
        def signed: (. * 10000 | round / 10000 | if . > 0 then \"+\(.)\" else \"\(.)\" end);
        $3 | map(tostring) | \"| \" + join(\" | \") + \" |\"" "$results")
    [ -n "$cells" ] || return 0
    printf '\n%s\n\n%s\n%s\n%s\n' "$title" "$head" "$(sed -E 's/[^|]+/---/g' <<<"$head")" "$cells"
}

jq -rs 'map(select(.bench | startswith("race_"))) | if length == 0 then empty else last |
    "\(.cpu), \(.cores) cores, \(.dim) dimensions, seed \(.seed), commit \(.commit)\(if .dirty then " and changes" else "" end)" end' "$results"

table "Memory of the machine, one thread" "| rows of the run | when | read GB/s | a random block of 512 bytes, ns |" \
    'select(.bench == "race_yardstick") | [.rows, .when, (.read_gb_per_s | us), (.random_block_ns | us)]'
table "Building (CPU of all threads)" \
    "| rows | engine | threads | us CPU a row | us a row | bytes a row, by its own account | resident bytes a row | of them in huge pages |" \
    'select(.bench == "race_build") | [.rows, .engine, .threads, (.cpu_us_per_row | us), (.wall_us_per_row | us),
        (.index_bytes_per_row | us), (.resident_bytes_per_row | us), (.huge_page_share | share)]'
table "Searching (k = 50, one thread; us per probe)" \
    "| rows | engine | effort | batch | recall@1 of mated | recall@10 | recall@50 | mate hit@1 | @10 | @50 | rows compared | best p50 CPU | p50 CPU | p95 | p99 | mean | p50 wall | p99 wall |" \
    'select(.bench == "race_search") | [.rows, .engine, (if .ef then "ef \(.ef)" else .effort // "" end), .batch,
        (.recall_at_1_mated | share), (.recall_at_10 | share), (.recall_at_50 | share), (.mate_hit_at_1 | share),
        (.mate_hit_at_10 | share), (.mate_hit_at_50 | share), (.scanned | us), (.best_p50_cpu_us | us), (.p50_cpu_us | us), (.p95_cpu_us | us), (.p99_cpu_us | us),
        (.mean_cpu_us | us), (.p50_wall_us | us), (.p99_wall_us | us)]'
table "Time at equal recall (us CPU, p50 of the best pass; interpolated)" "| rows | ours | theirs | recall | ours us | theirs us | ratio |" \
    'select(.bench == "race_ratio" and .batch == null) | [.rows, .engine, .peer, "@\(.recall_among) \(.recall)",
        "\(if .us_is_upper_bound then "<= " else "" end)\(.us | us)",
        "\(if .peer_us_is_upper_bound then "<= " elif .peer_us_is_lower_bound then "> " else "" end)\(.peer_us | us)",
        "\(if .peer_us_is_lower_bound then "> " else "" end)\(.ratio | times)"]'
table "Exhaustive search (us CPU per probe, p50 of the best pass)" \
    "| rows | ours | batch | recall@50 | us | a plain read of the codes, us | share of the bandwidth | FAISS Flat us | ratio |" \
    'select(.bench == "race_ratio" and .batch != null) | [.rows, .engine, .batch, (.recall | share), (.us | us),
        (.read_loop_us | us), (.share_of_read_bandwidth | share), (.peer_us | us), (.ratio | times)]'
table "Threads (recall@10 from 0.985 on)" "| rows | engine | threads | searches/s | over one thread |" \
    'select(.bench == "race_threads") | [.rows, .engine, .threads, (.searches_per_s | us), (.over_one_thread | times)]'
table "One search at a time, idle cores help (us)" "| rows | engine | threads | p50 wall | p99 wall | p50 CPU of the caller |" \
    'select(.bench == "race_crew") | [.rows, .engine, .threads, (.p50_wall_us | us), (.p99_wall_us | us), (.p50_cpu_us | us)]'
table "One row into the full index (us CPU)" "| rows | engine | mean | p50 | p99 |" \
    'select(.bench == "race_insert") | [.rows, .engine, (.mean_cpu_us | us), (.p50_cpu_us | us), (.p99_cpu_us | us)]'
table "Removing, and replacing half of the gallery (us CPU a row)" "| rows | engine | what | rows changed | removing one | adding one |" \
    'select(.bench == "race_remove" or .bench == "race_churn") | [.rows, .engine, .bench[5:], .removed // .replaced,
        (.cpu_us_per_row // .remove_cpu_us_per_row | us), (.add_cpu_us_per_row | us)]'
table "Recall after changes, minus that of an index built anew from the same rows (standard error)" \
    "| rows | engine | change | effort | recall@10 | recall@50 | @1 | @10 | @50 | p50 us | fresh p50 us |" \
    'select(.bench == "race_removed" or .bench == "race_churned") | [.rows, .engine, "\(.share) \(.bench[5:])",
        (if .ef then "ef \(.ef)" else .effort // "" end), (.recall_at_10 | share), (.recall_at_50 | share),
        "\(.minus_fresh_at_1 | signed) (\(.standard_error_at_1 | share))",
        "\(.minus_fresh_at_10 | signed) (\(.standard_error_at_10 | share))",
        "\(.minus_fresh_at_50 | signed) (\(.standard_error_at_50 | share))", (.p50_cpu_us | us), (.fresh_p50_cpu_us | us)]'
table "Clients through gRPC on loopback" "| rows | engine | clients | searches/s | p50 us | p99 us | server CPU us | recall@10 |" \
    'select(.bench == "clients") | [.rows, .serving, .clients, (.searches_per_s | us), (.p50_us | us), (.p99_us | us),
        (.server_cpu_us | us), (.recall_at_10 | share)]'
