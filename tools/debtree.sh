#!/bin/sh
# tools/debtree.sh NAME FOLDER: Debian packages unpacked into FOLDER: programs of Debian 13 (trixie) for an older
# Debian, which run from there with their own C library, and libraries of another architecture. Nothing is
# installed. NAME:
#
#   glslang   FOLDER/glslangValidator and FOLDER/spirv-val, with integer dot products and cooperative matrices
#   mesa      FOLDER/run PROGRAM ARGS: Vulkan on the CPU with cooperative matrices (trixie-backports), and its
#             validation layers, for PROGRAM of this system
#   arm64     FOLDER/cross.txt, a Meson cross file for AArch64 with this release's libraries, and FOLDER/run
#             PROGRAM ARGS: a program of that build under emulation (QEMU_CPU says on which processor)
#   bookworm  FOLDER/root.tar: a small whole system of that release, for container images; so too trixie
#
# Does nothing where FOLDER is there already. Needs mmdebstrap, a network, and no privileges. When it fails,
# one line on stderr says why and FOLDER.log has the rest.
set -eu

name=$1 folder=$2
case $folder in
/*) ;;
*) folder=$PWD/$folder ;;
esac
if [ -x "$folder/run" ] || [ -e "$folder/root.tar" ]; then exit 0; fi

die() {
    mkdir -p "$(dirname "$folder")"
    printf '%s\n' "$*" >>"$folder.log"
    printf '%s\n' "tools/debtree.sh: $*" >&2
    exit 1
}
rm -f "$folder.log"

# Where this system's own packages come from; "" leaves it to mmdebstrap.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --no-release-info \
        --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        awk -v release="${VERSION_CODENAME:-}" '
            $3 != "main" || $2 ~ /-/ { next }
            $1 == "Debian" { print $4; found = 1; exit }
            $2 == release && $4 ~ /\/debian\/?$/ && guess == "" { guess = $4 }
            END { if (!found && guess != "") print guess }'
}

# Where this system's security updates come from; "" when it has none.
security() {
    # shellcheck disable=SC2016
    apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
        'Identifier: Packages' 2>/dev/null |
        awk -v release="${VERSION_CODENAME:-}-security" '$1 == release && $2 == "main" { print $3; exit }'
}

if [ ! -f /etc/os-release ]; then die "not a Debian system"; fi
# shellcheck source=/dev/null
. /etc/os-release
if [ "${ID:-}" != debian ]; then die "not a Debian system"; fi
if ! command -v mmdebstrap >/dev/null 2>&1; then die "mmdebstrap is not installed"; fi
uri=$(mirror)
if [ -z "$uri" ]; then die "apt has no Debian repository"; fi
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if [ -f "$keys" ]; then keys="[signed-by=$keys]"; else keys=; fi

release=trixie how='--mode=chrootless --variant=extract' result=tree
architecture=$(dpkg --print-architecture)
case $name in
glslang)
    packages=glslang-tools,spirv-tools
    set -- "deb $keys $uri trixie main"
    ;;
mesa)
    packages=mesa-vulkan-drivers/trixie-backports,libvulkan1,vulkan-validationlayers
    set -- "deb $keys $uri trixie main" "deb $keys $uri trixie-backports main"
    ;;
arm64)
    release=${VERSION_CODENAME:-} architecture=arm64
    packages=libc6-dev,libjansson-dev,libpcre2-dev,nettle-dev,libcmocka-dev
    set -- "deb $keys $uri $release main"
    ;;
bookworm | trixie)
    release=$name packages=apt how=--variant=minbase result=root.tar
    set -- "deb $keys $uri $release main" "deb $keys $uri $release-updates main"
    updates=$(security)
    if [ -n "$updates" ]; then set -- "$@" "deb $keys $updates $release-security main"; fi
    ;;
*) die "no tree $name" ;;
esac

# What an interrupted attempt leaves has this name.
new=$folder.new
rm -rf "$new"
mkdir -p "$new"
# shellcheck disable=SC2086
mmdebstrap $how --include="$packages" --architectures="$architecture" \
    --aptopt='Acquire::Retries "2"' --aptopt='Acquire::http::Timeout "20"' \
    "$release" "$new/$result" "$@" >"$folder.log" 2>&1 || {
    rm -rf "$new"
    die "mmdebstrap failed: $folder.log"
}
if [ "$result" = root.tar ]; then
    mv "$new" "$folder"
    exit 0
fi
mv "$new/tree/usr" "$new/usr"
if [ -d "$new/tree/lib" ] && [ ! -L "$new/tree/lib" ]; then cp -a "$new/tree/lib/." "$new/usr/lib/"; fi
rm -rf "$new/tree" "$new/usr/share/doc" "$new/usr/share/locale" "$new/usr/share/man"

# A cross compiler takes this folder for the root of a system, where links that begin with / lead elsewhere.
if [ "$name" = arm64 ]; then
    ln -s usr/lib "$new/lib"
    find "$new/usr/lib/aarch64-linux-gnu" -maxdepth 1 -type l -lname '/*' -exec sh -c \
        'for link; do ln -sf "$(basename "$(readlink "$link")")" "$link"; done' sh {} +
    cat >"$new/cross.txt" <<END
# AArch64 for Meson: made by tools/debtree.sh.
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = '$folder/run'

[built-in options]
c_args = ['--sysroot=$folder']
c_link_args = ['--sysroot=$folder']

[properties]
sys_root = '$folder'
pkg_config_libdir = '$folder/usr/lib/aarch64-linux-gnu/pkgconfig'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
    cat >"$new/run" <<'END'
#!/bin/sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec qemu-aarch64 -L "$here" "$@"
END
    chmod +x "$new/run"
    mv "$new" "$folder"
    exit 0
fi

loader=$(cd "$new" && find usr/lib/*-linux-* -maxdepth 1 -name 'ld-linux*.so.*' | head -n 1)
if [ -z "$loader" ]; then die "no program loader in $new"; fi
libs=${loader%/*}

script_head() { # the head of a script in the folder
    cat <<END
#!/bin/sh
here=\$(CDPATH='' cd -- "\$(dirname -- "\$0")" && pwd)
END
}
program() { # program NAME
    {
        script_head
        echo "exec \"\$here/run\" \"\$here/usr/bin/$1\" \"\$@\""
    } >"$new/$1"
    chmod +x "$new/$1"
}
{
    script_head
    if [ "$name" = mesa ]; then
        find "$new/$libs" -name 'libvulkan_*.so' ! -name libvulkan_lvp.so -exec rm -f {} +
        rm -f "$new"/usr/share/vulkan/implicit_layer.d/*
        printf '{"file_format_version": "1.0.1", "ICD": {"api_version": "1.4.0", "library_path": "%s"}}\n' \
            "./$libs/libvulkan_lvp.so" >"$new/icd.json"
        cat <<'END'
export VK_DRIVER_FILES="$here/icd.json" VK_ICD_FILENAMES="$here/icd.json"
export VK_LAYER_PATH="$here/usr/share/vulkan/explicit_layer.d"
export VK_IMPLICIT_LAYER_PATH="$here/usr/share/vulkan/implicit_layer.d"
END
    fi
    echo "exec \"\$here/$loader\" --library-path \"\$here/$libs:/$libs\" \"\$@\""
} >"$new/run"
chmod +x "$new/run"
trial=/bin/true
if [ "$name" = glslang ]; then
    program glslangValidator
    program spirv-val
    trial=$new/usr/bin/glslangValidator
fi
"$new/run" "$trial" --version >>"$folder.log" 2>&1 || die "$trial does not run: $folder.log"
mv "$new" "$folder"
