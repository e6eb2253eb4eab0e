#!/bin/sh
# containers/compile.sh FOLDER OUT OPTION...: in the image's build stage: makes the release binary in FOLDER, which is there
# from earlier builds, of the sources that this script is part of, with the CUDA toolkit that lies under /opt/cuda if there
# is one. Into OUT comes the stripped binary with what goes beside it: build.txt says which kernels are in it and which
# are not.
set -eu
source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$1 out=$2
shift 2

# Only what differs is written: the times of files in an image say nothing, and what is unchanged is not compiled again.
cd "$source"
find . -path './build*' -prune -o -type f -print | while IFS= read -r file; do
    if ! cmp -s "$file" "$folder/$file"; then
        mkdir -p "$folder/${file%/*}"
        cp "$file" "$folder/$file"
    fi
done
cd "$folder"
find . -path './build*' -prune -o -type f -print | while IFS= read -r file; do
    if [ ! -e "$source/$file" ]; then rm "$file"; fi
done
if [ -d "$source/build-tools" ]; then ln -sfn "$source/build-tools" build-tools; fi

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
