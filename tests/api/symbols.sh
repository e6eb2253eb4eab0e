#!/bin/sh
# symbols.sh CC INCLUDE SHARED STATIC: the shared library exports what the public headers mark HY_API and
# nothing else, at most 64 names; in the static one every global name begins with hy_ or a backend's name; and the
# shared one needs no library but the C library, jansson and PCRE2.
set -eu
cc=$1 include=$2 shared=$3 static=$4
most=64
if ! command -v nm >/dev/null 2>&1 || ! command -v readelf >/dev/null 2>&1; then
    echo "skipped: nm and readelf (binutils) are not here"
    exit 77
fi
for file in "$shared" "$static"; do
    if [ ! -f "$file" ]; then
        echo "FAILED: $file was not built"
        exit 1
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
fail() {
    echo "FAILED: $*"
    status=1
}

nm -D --defined-only --format=posix "$shared" |
    awk '$2 != "A" { sub(/@.*/, "", $1); print $1 }' | sort >"$work/exported"
for path in "$include"/halyard/*.h; do printf '#include <halyard/%s>\n' "${path##*/}"; done >"$work/all.c"
"$cc" -E -P -DHY_API=exported_here -I "$include" "$work/all.c" | tr '\n' ' ' | tr ';' '\n' |
    sed -e 's/__attribute__((warn_unused_result))//g' |
    sed -n 's/.*exported_here[^(]*[ *]\(hy_[a-z0-9_]*\) *(.*/\1/p' | sort -u >"$work/declared"

count=$(wc -l <"$work/exported")
if [ "$count" -gt $most ]; then fail "$count exported symbols, more than $most"; fi
if [ "$count" -eq 0 ]; then fail "nothing is exported"; fi
for name in $(comm -23 "$work/exported" "$work/declared"); do
    fail "$name is exported, but no public header declares it"
done
for name in $(comm -13 "$work/exported" "$work/declared"); do
    fail "$name is declared in a public header, but not exported"
done

nm -g --defined-only --format=posix "$static" 2>/dev/null | awk 'NF > 2 { print $1 }' | sort -u >"$work/global"
for name in $(grep -Ev '^(hy|cpu|ref|null|gpu|simt|cuda|hip|vulkan)_' "$work/global" || true); do
    fail "$name: a global name in the static library without hy_ or its backend in front"
done

for library in $(readelf -d "$shared" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    case $library in
    libc.* | libm.* | libdl.* | libpthread.* | ld-linux* | libgcc_s.*) ;;
    libjansson.* | libpcre2-8.*) ;;
    *) fail "the shared library needs $library" ;;
    esac
done
echo "$count exported symbols, $(wc -l <"$work/global") global ones in the static library"
exit $status
