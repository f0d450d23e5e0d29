#!/usr/bin/env bash
# Proves what only the linked program shows. Usage: tests/check_symbols.sh BUILD_FOLDER
# 1. accept4 is in the server's dynamic table: else libgrpc takes libc's and one EMFILE ends the listener for ever.
# 2. Every symbol leads to its file: of indexd/x.c it is named gx_x_…, and where a part is spread over x.c and x_y.c, gx_x_….
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
build=$1
bad=0

# Parts whose name is not that of their file: the calls of rpc.h, the tickets of expunge.h.
other_name_of() {
    case $1 in
    rpc_call | rpc_stream) echo call ;;
    ticket) echo expunge ;;
    esac
}

if [ -e "$build/indexd" ] && [ -e indexd/accept_guard.c ]; then
    nm -D --defined-only "$build/indexd" | grep -qE ' [TW] accept4$' || {
        echo "$build/indexd: accept4 is not in the dynamic table, so libgrpc does not see ours"
        bad=1
    }
fi

for object in "$build"/obj/indexd/*.o; do
    file=$(basename "$object" .o)
    other=$(other_name_of "$file")
    for name in $(nm -g --defined-only "$object" | awk '{ print $3 }'); do
        case $file:$name in main:main | main:argp_* | accept_guard:accept4 | *:__*) continue ;; esac # __: of a sanitizer
        part=$file
        while [[ $name != gx_"$part" && $name != gx_"$part"_* ]]; do
            if [[ $part == *_* ]]; then
                part=${part%_*}
                continue
            fi
            [[ -n $other && $name == gx_"$other"_* ]] || {
                echo "indexd/$file.c defines $name: its name should begin with gx_${file}_"
                bad=1
            }
            break
        done
    done
done
exit $bad
