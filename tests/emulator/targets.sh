#!/bin/sh
# targets.sh CLANG SOURCE INCLUDE TARGET...: every unit of shaders/simt is read and typed for every AMD target, those too
# that this build makes no code for. INCLUDE has shaders/op_numbers.h. Machine code is left to the release build.
set -eu
clang=$1 source=$2 include=$3
shift 3
cd "$source"
units=$(python3 shaders/simt/units.py list shaders/simt/units.txt .)
failed=0 done=0
for target in "$@"; do
    for unit in $units; do
        file=${unit#*;}
        case $file in
        *\;*) definitions=$(printf '%s' "${file#*;}" | tr ';' ' ') file=${file%%;*} ;;
        *) definitions= ;;
        esac
        # shellcheck disable=SC2086
        "$clang" -x hip -nogpuinc -nogpulib --cuda-device-only --no-gpu-bundle-output "--offload-arch=$target" -std=c++17 \
            -O0 -emit-llvm -c -I . -I "$include" $definitions "shaders/simt/$file" -o /dev/null || {
            echo "FAILED: ${unit%%;*} for $target" >&2
            failed=1
        }
        done=$((done + 1))
    done
done
echo "$done units"
exit $failed
