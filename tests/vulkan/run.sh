#!/bin/sh
# tests/vulkan/run.sh [--coopmat] [--validate] HALYARD PROGRAM ARGS: runs PROGRAM where HALYARD sees a Vulkan
# device, and is skipped (77) with the reason where there is none.
#
#   --coopmat    on the software device with cooperative matrices that tools/dev makes (build-tools/mesa)
#   --validate   under the Khronos validation layer, synchronization included; any message of it is a failure
set -eu

runner=
layers=/usr/share/vulkan/explicit_layer.d
validate=
while :; do
    case $1 in
    --coopmat)
        runner=$HALYARD_SOURCE/build-tools/mesa/run
        layers=$HALYARD_SOURCE/build-tools/mesa/usr/share/vulkan/explicit_layer.d
        ;;
    --validate) validate=yes ;;
    *) break ;;
    esac
    shift
done
halyard=$1
shift

skip() {
    echo "skipped: $*"
    exit 77
}
if [ -n "$runner" ] && [ ! -x "$runner" ]; then
    skip "no software device with cooperative matrices; on Debian tools/dev setup makes one in build-tools/mesa"
fi
devices=$(${runner:+"$runner"} "$halyard" devices)
first=$(printf '%s\n' "$devices" | sed -n '/^vulkan/p' | head -n 1)
case $first in
vulkan:0*not\ available* | vulkan\ *)
    # Where another program finds a driver, "none" is a bug.
    if command -v vulkaninfo >/dev/null 2>&1 &&
        ${runner:+"$runner"} "$(command -v vulkaninfo)" --summary 2>/dev/null | grep deviceName; then
        echo "FAILED: vulkaninfo sees this device, halyard does not: $first"
        exit 1
    fi
    skip "$first"
    ;;
vulkan:0*) ;;
*)
    echo "FAILED: no line of Vulkan in halyard devices: $devices"
    exit 1
    ;;
esac
if [ -n "$runner" ] && ! printf '%s\n' "$devices" | grep -q 'cooperative matrices [0-9]'; then
    case $devices in
    *"cooperative matrices (not in this build)"*) skip "no cooperative-matrix kernels in this build" ;;
    esac
    echo "FAILED: this device has cooperative matrices: $devices"
    exit 1
fi
if [ -z "$validate" ]; then exec ${runner:+"$runner"} "$@"; fi

# ---- validation ----------------------------------------------------------------------------------------

if [ ! -e "$layers/VkLayer_khronos_validation.json" ]; then
    skip "no validation layer (vulkan-validationlayers)"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/vk_layer_settings.txt" <<END
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.log_filename = $work/log
khronos_validation.report_flags = error,warn,perf,info
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
khronos_validation.validate_sync = true
khronos_validation.enable_message_limit = true
khronos_validation.duplicate_message_limit = 3
END
export VK_LAYER_SETTINGS_PATH="$work/vk_layer_settings.txt"
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
status=0
${runner:+"$runner"} "$@" || status=$?
touch "$work/log"
# A message begins as "NAME(ERROR / SPEC): " or, of newer layers, "Validation Error: [ NAME ]". What is only
# information counts as proof that the layer is there and looks at synchronization.
awk -v information="$work/active" -v others="$work/messages" '
    BEGIN { file = others }
    /^[A-Za-z0-9_-]+\([A-Z]+ / || /^Validation [A-Z][A-Za-z ]*: \[/ {
        file = /^[A-Za-z0-9_-]+\(INFO / || /^Validation Information: / ? information : others
    }
    NF { print > file }' "$work/log"
touch "$work/active" "$work/messages"
if ! grep -q 'Current Enables:.*SYNCHRONIZATION_VALIDATION' "$work/active"; then
    echo "FAILED: synchronization validation was not active"
    cat "$work/log"
    exit 1
fi
if [ -s "$work/messages" ]; then
    echo "FAILED: messages of the validation layer:"
    head -c 20000 "$work/messages"
    exit 1
fi
exit $status
