#!/usr/bin/env bash
# Brings this machine what indexd is built from; quick when nothing is missing. Usage: .ci/deps.sh [run|test|bench]
#
# The path: 1. look which Debian packages are missing, install them (root, or sudo); 2. build FAISS 1.7.3 with its C API
# once, from the distribution's source package, into build/deps (Debian's binary package has neither C API nor AVX2).
# What can go wrong: no right to install (one line says what to run), no package index yet (updated and tried again),
# a distribution that carries another FAISS (said, not guessed around). The machine's own apt sources stay as they are.
set -euo pipefail

set_name=${1:-run}
top=$(cd "$(dirname "$0")/.." && pwd)
deps=$top/build/deps
faiss_version=1.7.3

run_packages="gcc g++ libc6-dev make cmake dpkg-dev ca-certificates
    protobuf-compiler protobuf-c-compiler libprotobuf-c-dev
    libgrpc-dev librocksdb-dev libopenblas-dev liblapack-dev libssl-dev libinih-dev libjansson-dev libcsv-dev
    check"
test_packages="clang libclang-rt-14-dev clang-format cppcheck
    python3 python3-grpcio python3-protobuf python3-numpy curl openssl"
# What is measured against, and what draws the pictures.
bench_packages="libhnswlib-dev gnuplot-nox fonts-dejavu-core jq"

case $set_name in
run) packages=$run_packages ;;
test) packages="$run_packages $test_packages" ;;
bench) packages="$run_packages $test_packages $bench_packages" ;;
*)
    echo "deps: unknown set '$set_name': say run, test or bench" >&2
    exit 2
    ;;
esac

say() { echo "deps: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# ---------------------------------------------------------------- packages
missing_packages() {
    local have p missing=""
    # shellcheck disable=SC2086
    have=" $(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null |
        awk '$2 == "installed" { printf "%s ", $1 }') "
    for p in $packages; do
        case $have in *" $p "*) ;; *) missing="$missing $p" ;; esac
    done
    # Node is wanted as a command, whoever packaged it: a machine's own is left alone.
    if [ "$set_name" != run ]; then
        command -v node >/dev/null || missing="$missing nodejs"
        command -v npm >/dev/null || missing="$missing npm"
    fi
    echo "${missing# }"
}

install_packages() {
    local missing=$1 root="" apt command="apt-get install -y --no-install-recommends $1"
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            die "missing packages: $missing; as root run: apt-get update && $command"
        elif sudo -n true 2>/dev/null; then
            root="sudo -n"
        elif [ -t 0 ] && [ -t 2 ]; then
            root="sudo" # asks for the password
        else
            die "missing packages: $missing; run: sudo apt-get update && sudo $command"
        fi
    fi
    apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3"
    say "installing: $missing"
    # shellcheck disable=SC2086
    if ! $apt install -y --no-install-recommends $missing >"$deps/apt.log" 2>&1 </dev/null; then
        # The package index is absent or old: once more with a fresh one.
        $apt update >>"$deps/apt.log" 2>&1 </dev/null || say "apt-get update failed: trying with the index at hand"
        if ! $apt install -y --no-install-recommends $missing >>"$deps/apt.log" 2>&1 </dev/null; then
            tail -n 20 "$deps/apt.log" >&2
            die "apt-get could not install: $missing (log: build/deps/apt.log)"
        fi
    fi
}

# ---------------------------------------------------------------- FAISS
# The instruction set that the static library is compiled for.
opt_level() {
    local flag
    for flag in avx2 fma f16c popcnt; do
        grep -qwm1 "$flag" /proc/cpuinfo || {
            echo generic
            return
        }
    done
    echo avx2
}

# Where the machine's own apt configuration has Debian's main component, as "file:number" (a stanza or a line).
debian_entries() {
    apt-get "$@" indextargets --format '$(ORIGIN)|$(COMPONENT)|$(SOURCESENTRY)' 'Created-By: Packages' 2>/dev/null |
        awk -F'|' '$1 == "Debian" && $2 == "main" { print $3 }' | sort -u
}

# Writes the same entries as source entries into a folder of ours: same URIs, suites, keys and options.
write_source_entries() {
    local entry file number
    for entry in $1; do
        file=${entry%:*} number=${entry##*:}
        case $file in
        *.sources)
            awk -v want="$number" 'BEGIN { RS = ""; FS = "\n" }
                { s = 0; for (i = 1; i <= NF; i++) if ($i !~ /^#/) s = 1 }
                s && ++n == want {
                    skip = 0
                    for (i = 1; i <= NF; i++) {
                        if ($i ~ /^#/) continue
                        if ($i !~ /^[ \t]/) skip = ($i ~ /^([Tt]ypes|[Cc]omponents|[Ee]nabled|[Aa]rchitectures|[Tt]argets)[ \t]*:/)
                        if (!skip) print $i
                    }
                    print "Types: deb-src\nComponents: main\n"
                }' "$file" >>"$deps/apt/parts/indexd.sources"
            ;;
        *)
            sed -nE "${number}s/^[[:space:]]*deb[[:space:]]+((\\[[^]]*\\][[:space:]]+)?[^[:space:]]+[[:space:]]+[^[:space:]]+)[[:space:]].*/deb-src \\1 main/p" \
                "$file" >>"$deps/apt/parts/indexd.list"
            ;;
        esac
    done
}

fetch_faiss() {
    local entries conf=$deps/apt/apt.conf
    rm -rf "$deps/apt" "$deps/src"
    mkdir -p "$deps/apt/parts" "$deps/apt/lists/partial" "$deps/apt/cache/archives/partial" "$deps/src"
    # Own state and cache, so no root is needed; hooks of the machine's apt are not ours to run.
    cat >"$deps/apt/own.conf" <<CONF
Dir::State::lists "$deps/apt/lists";
Dir::Cache "$deps/apt/cache";
Acquire::Retries "3";
Acquire::Languages "none";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
    {
        cat "$deps/apt/own.conf"
        echo 'Dir::Etc::sourcelist "/dev/null";'
        echo "Dir::Etc::sourceparts \"$deps/apt/parts\";"
    } >"$conf"
    entries=$(debian_entries)
    if [ -z "$entries" ]; then # no index on this machine yet, so no origin is known: fetch one of our own
        apt-get -q -c "$deps/apt/own.conf" update >"$deps/apt.log" 2>&1 || true
        entries=$(debian_entries -c "$deps/apt/own.conf")
    fi
    [ -n "$entries" ] || die "no Debian 'main' entry in the apt configuration: the FAISS $faiss_version source comes from there"
    write_source_entries "$entries"
    apt-get -q -c "$conf" update >"$deps/apt.log" 2>&1 || say "apt-get update (source index) complained: build/deps/apt.log"
    if ! (cd "$deps/src" && apt-get -q -c "$conf" source --only-source faiss) >>"$deps/apt.log" 2>&1 </dev/null; then
        tail -n 20 "$deps/apt.log" >&2
        die "the source package 'faiss' could not be fetched (log: build/deps/apt.log)"
    fi
    [ -d "$deps/src/faiss-$faiss_version" ] ||
        die "the distribution's faiss is of another version (build/deps/apt.log), indexd wants $faiss_version (Debian 12)"
}

# Only the two archives we link. NDEBUG, because without it FAISS prints every exception to stderr.
build_faiss() {
    local level=$1 src=$deps/src/faiss-$faiss_version out=$deps/src/out new=$deps/src/new flags="" f
    # The whole library is compiled for the level, as FAISS's own faiss_avx2 target does it.
    [ "$level" = avx2 ] && flags="-mavx2 -mfma -mf16c -mpopcnt"
    cmake -S "$src" -B "$out" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O3 -DNDEBUG" \
        -DCMAKE_CXX_FLAGS="-w -fPIC -ffile-prefix-map=$src/= $flags" -DFAISS_OPT_LEVEL=generic -DFAISS_ENABLE_C_API=ON -DFAISS_ENABLE_GPU=OFF \
        -DFAISS_ENABLE_PYTHON=OFF -DBUILD_TESTING=OFF -DBUILD_SHARED_LIBS=OFF -DBLA_VENDOR=OpenBLAS
    cmake --build "$out" --target faiss --target faiss_c -j "$(nproc)"
    mkdir -p "$new/lib" "$new/include/faiss/c_api"
    cp "$out/faiss/libfaiss.a" "$out/c_api/libfaiss_c.a" "$new/lib/"
    (cd "$src/c_api" && find . -name '*.h' ! -path './gpu/*' -print) | while read -r f; do
        mkdir -p "$new/include/faiss/c_api/$(dirname "$f")"
        cp "$src/c_api/$f" "$new/include/faiss/c_api/$f"
    done
    cp "$src/LICENSE" "$new/include/faiss/LICENSE"
    rm -rf "${deps:?}/lib" "${deps:?}/include"
    mv "$new/lib" "$new/include" "$deps/"
}

ensure_faiss() {
    local level stamp
    level=$(opt_level)
    stamp="faiss $faiss_version $level ndebug"
    [ "$(cat "$deps/faiss.stamp" 2>/dev/null)" = "$stamp" ] && return
    exec 9>"$deps/.lock"
    flock 9 # two builds in one checkout: the second waits and finds the work done
    [ "$(cat "$deps/faiss.stamp" 2>/dev/null)" = "$stamp" ] && return
    rm -f "$deps/faiss.stamp"
    say "building FAISS $faiss_version ($level) from the distribution's source package: once, about a minute on two cores"
    fetch_faiss
    if ! build_faiss "$level" >"$deps/faiss.log" 2>&1 </dev/null; then
        tail -n 20 "$deps/faiss.log" >&2
        die "FAISS did not build (log: build/deps/faiss.log)"
    fi
    rm -rf "$deps/src" "$deps/apt"
    echo "$stamp" >"$deps/faiss.stamp"
    say "FAISS is ready"
}

# A make above us would hand its job server down to cmake, which can't use it.
unset MAKEFLAGS MFLAGS MAKELEVEL
command -v dpkg-query >/dev/null || die "no dpkg here: indexd is built on Debian 12; elsewhere install by hand: $packages"
mkdir -p "$deps"
missing=$(missing_packages)
if [ -n "$missing" ]; then
    install_packages "$missing"
fi
ensure_faiss
