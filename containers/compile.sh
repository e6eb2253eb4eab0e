#!/bin/sh
# containers/compile.sh FOLDER OPTION...: in the image's build stage: makes the release binary, with the CUDA toolkit that
# lies under /opt/cuda if there is one, and puts it stripped into FOLDER with what goes beside it: build.txt says which
# kernels are in the binary and which are not.
set -eu
out=$1
shift
for nvcc in /opt/cuda/cuda*/bin/nvcc; do
    if [ -x "$nvcc" ]; then set -- "-Dnvcc=$nvcc" -Dcuda=enabled "$@"; fi
done
tools/dev release -Dvulkan=enabled -Dhip=enabled "$@"
mkdir -p "$out"
strip -o "$out/halyard" build-release/halyard
cp LICENSE docs/containers.md "$out"
# Meson's summary, without the compilers' folders.
awk '/^halyard [0-9.]+$/ { on = 1; next } /^ *User defined options/ { on = 0 } on && NF' \
    build-release/meson-logs/meson-log.txt | sed 's|: /[^ ]*/|: |; s| (/.*)$||' >"$out/build.txt"
cat "$out/build.txt" >&2
