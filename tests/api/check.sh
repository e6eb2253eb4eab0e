#!/bin/sh
# check.sh PYTHON SOURCE: tools/check.py finds what it is there to find, and nothing in a clean tree.
set -eu
python=$1 check=$2/tools/check.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
mkdir -p "$work/base" "$work/hal" "$work/backends/cpu" "$work/backends/ref" "$work/src/graph" \
    "$work/src/compile" "$work/models" "$work/tools/bench" "$work/include/halyard" "$work/shaders/vulkan"
cp "$2/.clang-format" "$work/"

cat >"$work/hal/clean.h" <<'END'
/* hal/clean.h: nothing to find. */
#ifndef CLEAN_H
#define CLEAN_H

#include "base/num.h"

typedef struct clean clean;

/* A comment above. */
int clean_above(int x);
int clean_in_the_same_block(int x);

enum { CLEAN = 1 /* a comment inside: "} ; {" and so on */ };

#endif
END
printf '#include "hal/clean.h"\n' >"$work/backends/cpu/clean.c"
printf '#include "backends/cpu/cpu.h"\n' >"$work/backends/registry.c"
printf '#include "src/graph/graph.h"\n' >"$work/models/clean.c"
printf '#include "src/graph/graph.h"\n' >"$work/tools/inspect.c"
printf '#include "base/num.h"\n' >"$work/tools/bench/clean.c"
cat >"$work/shaders/vulkan/clean.comp" <<'END'
/* shaders/vulkan/clean.comp: nothing to find. */
#version 460
#include "op_numbers.h"
#include "shaders/args.h"
void  crooked() { } // clang-format does not look
END
if ! "$python" "$check" --root "$work"; then
    echo "FAILED: findings in a clean tree"
    status=1
fi

glsl() { # glsl FILE: its first line, as it has to be
    printf '/* shaders/vulkan/%s: a test. */\n' "$1" >"$work/shaders/vulkan/$1"
}
expect() { # expect FILE PATTERN: the finding is there; then the file goes
    "$python" "$check" --root "$work" >"$work/out" 2>/dev/null && echo "(exit code 0)" >>"$work/out"
    if ! grep -q "^$1[:0-9]* $2" "$work/out" || [ "$(wc -l <"$work/out")" -ne 1 ]; then
        echo "FAILED: expected only '$1: $2', got:"
        cat "$work/out"
        status=1
    fi
    rm "$work/$1"
}
include() { # include FILE HEADER
    printf '#include "%s"\n' "$2" >"$work/$1"
    expect "$1" "#include \"$2\""
}
include base/up.c hal/hal.h
include hal/up.c src/graph/graph.h
include hal/up2.c halyard/halyard.h
include backends/cpu/across.c backends/ref/ref.h
include backends/ref/up.c src/graph/graph.h
include src/compile/across.c models/models.h
include models/across.c src/compile/compile.h
include src/compile/vendor.c backends/registry.h
include tools/run.c src/engine/engine.h
include tools/bench.c hal/hal.h
include tools/bench/up.c hal/hal.h
include base/relative.c arena.h
include base/relative2.c ../hal/hal.h

printf 'int bare(void);\n' >"$work/hal/bare.h"
expect hal/bare.h "bare has no comment"
printf 'typedef struct handle handle;\n' >"$work/include/halyard/handle.h"
expect include/halyard/handle.h "handle has no comment"
{
    echo 'int long_one(int x) {'
    for i in $(seq 79); do echo '    x += 1;'; done
    echo '}'
} >"$work/base/long.c"
expect base/long.c "long_one has 81 lines"
for i in $(seq 801); do echo "int x$i;"; done >"$work/base/size.c"
expect base/size.c "801 lines"
printf '#version 460\n' >"$work/shaders/vulkan/bare.comp"
expect shaders/vulkan/bare.comp "does not begin with /\* shaders/vulkan/bare.comp: "
glsl tab.glsl
printf '\tint x;\n' >>"$work/shaders/vulkan/tab.glsl"
expect shaders/vulkan/tab.glsl "a tab, a trailing blank"
glsl up.comp
printf '#include "hal/hal.h"\n' >>"$work/shaders/vulkan/up.comp"
expect shaders/vulkan/up.comp '#include "hal/hal.h" points up'
glsl beside.comp
printf '#include "nothing.glsl"\n' >>"$work/shaders/vulkan/beside.comp"
expect shaders/vulkan/beside.comp '#include "nothing.glsl": write the path'
glsl long.comp
{
    echo 'void long_one() {'
    for i in $(seq 79); do echo '    x += 1;'; done
    echo '}'
} >>"$work/shaders/vulkan/long.comp"
expect shaders/vulkan/long.comp "long_one has 81 lines"
if command -v clang-format-14 >/dev/null 2>&1; then
    printf 'int  crooked ( void ) ;\n' >"$work/base/crooked.c"
    expect base/crooked.c "not as clang-format writes it"
fi
exit $status
