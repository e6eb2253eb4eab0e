#!/bin/sh
# tests/vulkan/mistakes.sh HALYARD MISTAKE: run.sh --validate notices what it is there to notice (mistake.c).
set -eu
run=$(dirname "$0")/run.sh
status=0
tries() { # tries WHAT MESSAGE: MESSAGE is reported; "": nothing is
    code=0
    out=$("$run" --validate "$1" "$2" "$3" 2>&1) || code=$?
    if [ "$code" = 77 ]; then
        echo "$out"
        exit 77
    fi
    if [ -z "$4" ] && [ "$code" = 0 ]; then return 0; fi
    if [ -n "$4" ] && [ "$code" = 1 ] && printf '%s\n' "$out" | grep -q "$4"; then return 0; fi
    echo "FAILED: $3: expected '${4:-success}', got exit code $code and"
    printf '%s\n' "$out"
    status=1
}
tries "$1" "$2" none ""
tries "$1" "$2" object VUID-vkDestroyDevice-device-
tries "$1" "$2" hazard SYNC-HAZARD-WRITE-AFTER-WRITE
exit $status
