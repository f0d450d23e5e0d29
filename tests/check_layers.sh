#!/usr/bin/env bash
# Proves the floors and the homes: who may include what. Reads #include lines only; prints each violation, exit status 1.
#
# Rules: a file of indexd/ includes its own floor or lower ones, never upward; *_private.h is for its own floor only. A
# third-party header has one home, and no header of ours shows it (but *_private.h). client/ knows include/, the generated
# code and itself; include/ knows only C and itself. Nothing but tests/ and bench/ includes tests/. Headers form no cycle.
set -uo pipefail
cd "${1:-$(dirname "$0")/..}" || exit 2
bad=0

# ---------------------------------------------------------------- the tables
# file (without .c or .h) -> floor; a part of a split file (store_options.c) stands where the whole does (store)
floor_of() {
    case $1 in
    base | err | status | log | arena | map | file | thread | clock | failpoint | crew) floor=0 ;;
    simd | vec | codec | keys | receipt | manifest | config_table | filter | policy | topk | pile | uuid) floor=1 ;;
    store | ledger | rows | codes | engine | scan | datadir) floor=2 ;;
    gallery | galleries | enrol | hold | lookup | search | expunge | ticket | certificate | backup | restore | replay | keeper | erase | indexer | index_file | writer | absent) floor=3 ;;
    wire | rpc | routes | auth | health | reflection | accept_guard) floor=4 ;;
    config | main) floor=5 ;;
    *_*) floor_of "${1%_*}" ;;
    *) floor=none ;;
    esac
}

# header -> its only homes, as patterns of folder/file; "any" = everybody; "none" = not in this table
home_of() {
    case $1 in
    *.pb-c.h | protobuf-c/*) home="indexd/wire* indexd/reflection indexd/health client/*" ;;
    schema_fds.h) home="indexd/reflection" ;;
    rocksdb/*) home="indexd/store indexd/store_*" ;;
    faiss/* | omp.h | cblas.h | openblas*) home="indexd/engine_faiss*" ;;
    grpc/*) home="indexd/rpc* indexd/auth indexd/accept_guard client/call" ;;
    openssl/*) home="indexd/keys indexd/keys_sign client/certificate" ;;
    ini.h) home="indexd/config" ;;
    jansson.h) home="indexd/receipt client/certificate client/indexctl*" ;;
    csv.h) home="client/indexctl_csv" ;;
    sanitizer/*) home="indexd/arena" ;;
    immintrin.h | x86intrin.h | cpuid.h | arm_neon.h) home="indexd/simd indexd/simd_codes indexd/simd_encode" ;;
    # C and POSIX
    argp.h | assert.h | ctype.h | dirent.h | dlfcn.h | endian.h | errno.h | fcntl.h | float.h | ftw.h | getopt.h | glob.h) home=any ;;
    inttypes.h | libgen.h | limits.h | locale.h | malloc.h | math.h | netdb.h | poll.h | pthread.h | sched.h) home=any ;;
    semaphore.h | signal.h | stdalign.h | stdarg.h | stdatomic.h | stdbool.h | stddef.h | stdint.h | stdio.h) home=any ;;
    stdlib.h | stdnoreturn.h | string.h | strings.h | sys/*.h | syslog.h | termios.h | time.h | unistd.h | wchar.h) home=any ;;
    arpa/*.h | linux/*.h | net/*.h | netinet/*.h) home=any ;;
    *) home=none ;;
    esac
}

# ---------------------------------------------------------------- the check
violation() {
    echo "$1"
    bad=1
}

# @f includes the third-party or system header @i
check_home() {
    local f=$1 i=$2 pattern
    home_of "$i"
    case $home in
    any) return ;;
    none)
        violation "$f includes $i: not one of ours and without a home (table home_of in tests/check_layers.sh)"
        return
        ;;
    esac
    case $f in
    include/*)
        violation "$f includes $i: public headers show nothing of third parties"
        return
        ;;
    *_private.h) ;;
    *.h) violation "$f includes $i: no header of ours shows third-party types" ;;
    esac
    set -f
    for pattern in $home; do
        # shellcheck disable=SC2254
        case ${f%.*} in $pattern)
            set +f
            return
            ;;
        esac
    done
    set +f
    violation "$f includes $i: its home is $home"
}

# @f of indexd/ includes @i of indexd/
check_floor() {
    local f=$1 i=$2 mine
    floor_of "$(basename "${f%.*}")" && mine=$floor
    floor_of "${i%.h}"
    [ "$floor" != none ] && [ "$mine" != none ] || return # said once, for the file itself
    [ "$floor" -le "$mine" ] || violation "$f (floor $mine) includes $i (floor $floor): upward"
    case $i in *_private.h) [ "$floor" = "$mine" ] || violation "$f includes $i: for floor $floor only" ;; esac
}

check_include() {
    local f=$1 i=$2 folder
    folder=${f%%/*}
    case $i in *../*)
        violation "$f includes $i: no way through the parent folder"
        return
        ;;
    esac
    if [ -e "${f%/*}/$i" ]; then
        [ "$folder" != indexd ] || check_floor "$f" "$i"
    elif [ -e "include/$i" ]; then
        :
    elif [ -e "tests/lib/$i" ] || [[ $i == tests/* || $i == check.h ]]; then
        violation "$f includes $i: nothing but tests/ and bench/ includes tests"
    elif [ "$folder" = client ] && [ -e "indexd/$i" ]; then
        violation "$f includes $i: the client does not know the server"
    else
        check_home "$f" "$i"
    fi
}

include_line='^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]([^>"]+)[>"]'
edges=""
shopt -s nullglob
for f in indexd/*.[ch] client/*.[ch] include/indexd/*.[ch]; do
    if [[ $f == indexd/* ]]; then
        floor_of "$(basename "${f%.*}")"
        [ "$floor" != none ] || violation "$f has no floor (table floor_of in tests/check_layers.sh)"
    fi
    while IFS= read -r line; do
        [[ $line =~ $include_line ]] || continue
        check_include "$f" "${BASH_REMATCH[1]}"
        # For the search of cycles: headers by the path they resolve to.
        if [[ $f == *.h ]]; then
            if [ -e "${f%/*}/${BASH_REMATCH[1]}" ]; then
                edges+="$f ${f%/*}/${BASH_REMATCH[1]}"$'\n'
            elif [ -e "include/${BASH_REMATCH[1]}" ]; then
                edges+="$f include/${BASH_REMATCH[1]}"$'\n'
            fi
        fi
    done <"$f"
done
if ! cycle=$(printf '%s' "$edges" | tsort 2>&1 >/dev/null); then
    violation "headers include each other in a cycle: $(echo "$cycle" | sed 's/^tsort: //' | grep '/' | tr '\n' ' ')"
fi

# Public headers stand alone, also in C99 and C++.
for f in include/indexd/*.h; do
    unit="#include \"${f#include/}\""$'\n'"extern int not_empty;"
    gcc -std=c99 -Wall -Wextra -pedantic -Werror -fsyntax-only -Iinclude -x c - <<<"$unit" || violation "$f is not plain C99"
    g++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only -Iinclude -x c++ - <<<"$unit" || violation "$f does not compile as C++"
done
exit $bad
