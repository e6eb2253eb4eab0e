#!/bin/sh
# install.sh CC SOURCE BUILD: installs into an empty folder, builds examples/minimal.c against that tree
# with pkg-config, once with the shared and once with the static library, and lets both generate text.
set -eu
cc=$1 source=$2 build=$3
model=${HALYARD_TEST_DATA:-$source/../shared/data}/models/tinystories-260k/stories260K.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

meson install -C "$build" --destdir "$work/root" --no-rebuild --quiet
pc=$(find "$work/root" -name halyard.pc)
if [ -z "$pc" ]; then
    echo "FAILED: halyard.pc was not installed"
    exit 1
fi
PKG_CONFIG_PATH=${pc%/*}
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir halyard)
case $libdir in
"$work"/*) ;;
*)
    echo "FAILED: halyard.pc is not relocatable: meson configure $build -Dpkgconfig.relocatable=true"
    exit 1
    ;;
esac
include=$(pkg-config --variable=includedir halyard)
for file in "$libdir/libhalyard.so.0" "$libdir/libhalyard.a" "$include/halyard/halyard.h"; do
    if [ ! -f "$file" ]; then
        echo "FAILED: $file was not installed"
        exit 1
    fi
done
installed=$(find "$include" -type f | wc -l)
if [ "$installed" -ne 2 ]; then
    echo "FAILED: $installed headers were installed, not 2"
    exit 1
fi

# shellcheck disable=SC2046
build_example() { # build_example OUT PKG_CONFIG_OPTION...: nothing of the source tree is on the path
    out=$1
    shift
    cp "$source/examples/minimal.c" "$work/minimal.c"
    (cd "$work" && "$cc" -std=c11 -Wall -Wextra -Werror -o "$out" minimal.c $(pkg-config --cflags --libs "$@" halyard))
}
build_example shared
mkdir "$work/aside"
mv "$libdir"/libhalyard.so* "$work/aside/"
build_example static --static
mv "$work/aside"/* "$libdir/"
if LD_LIBRARY_PATH="$libdir" ldd "$work/static" | grep libhalyard; then
    echo "FAILED: the static example needs the shared library"
    exit 1
fi
if [ ! -f "$model" ]; then
    echo "skipped after building: no $model (HALYARD_TEST_DATA)"
    exit 77
fi
LD_LIBRARY_PATH="$libdir" "$work/shared" "$model" "Once upon a time" >"$work/shared.txt"
"$work/static" "$model" "Once upon a time" >"$work/static.txt"
cat "$work/shared.txt"
if [ "$(wc -w <"$work/shared.txt")" -lt 5 ]; then
    echo "FAILED: the example wrote fewer than five words"
    exit 1
fi
if ! cmp "$work/shared.txt" "$work/static.txt"; then
    echo "FAILED: shared and static examples wrote different text"
    exit 1
fi
