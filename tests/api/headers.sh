#!/bin/sh
# headers.sh CC INCLUDE: every public header compiles alone, and twice, as C11 and as C++11, without a
# warning under -Wpedantic.
set -eu
cc=$1 include=$2
cxx=
for name in c++ g++ clang++ clang++-14; do
    if command -v "$name" >/dev/null 2>&1; then
        cxx=$name
        break
    fi
done
status=0
compile() { # compile COMMAND... reads a header name from $header
    printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
        "$@" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include" - || {
        echo "FAILED: $header with $*"
        status=1
    }
}
count=0
for path in "$include"/halyard/*.h; do
    header=halyard/${path##*/}
    count=$((count + 1))
    compile "$cc" -x c -std=c11
    if [ -n "$cxx" ]; then compile "$cxx" -x c++ -std=c++11; fi
done
if [ -z "$cxx" ]; then echo "no C++ compiler: C only"; fi
echo "$count headers"
exit $status
