#!/bin/sh
# containers/gather.sh ROOT [--skeleton] [--over BASE] [--icds] FILE...: in an image's runtime stage, which is a Debian:
# copies each FILE (a path, or a library that the loader knows), for libraries every one that ldd names too, into the folder
# ROOT, with their packages' licences. Links become files, and nothing is writable.
#
#   --skeleton   first what any program expects: /etc/passwd, /tmp, the loader's cache
#   --over BASE  leaves out what the folder BASE has already
#   --icds       also Vulkan's drivers: each that is installed, but for the one of virtual machines
set -eu
umask 022
root=$1 base= files=
shift
doc=$root/usr/share/doc
mkdir -p "$doc"

die() {
    printf '%s\n' "gather.sh: $*" >&2
    exit 1
}

# /lib and /lib64 are links into /usr there as here.
canonical() {
    case $1 in
    /lib/* | /lib64/*) printf '/usr%s\n' "$1" ;;
    *) printf '%s\n' "$1" ;;
    esac
}

copy() { # copy FILE TARGET: once
    if [ -e "$root$2" ] || { [ -n "$base" ] && [ -e "$base$2" ]; }; then return 0; fi
    mkdir -p "$root${2%/*}"
    cp -L "$1" "$root$2"
    if [ -x "$1" ]; then chmod 755 "$root$2"; else chmod 644 "$root$2"; fi
    licence "$1"
}

licence() { # of the package that FILE is from
    real=$(readlink -f "$1")
    package=$(dpkg-query -S "$real" 2>/dev/null || dpkg-query -S "${real#/usr}" 2>/dev/null || :)
    package=${package%%:*}
    if [ -z "$package" ]; then return 0; fi
    dpkg-query -W "$package" | sed 's/:[a-z0-9]*\t/\t/' >>"$doc/packages"
    if [ ! -e "$doc/$package/copyright" ]; then
        mkdir -p "$doc/$package"
        cp -L "/usr/share/doc/$package/copyright" "$doc/$package/copyright"
    fi
}

found() { # the path of a library
    case $1 in
    */*) printf '%s\n' "$1" ;;
    *) ldconfig -p | awk -v name="$1" '$1 == name { print $NF; exit }' ;;
    esac
}

with_libraries() { # with_libraries FILE TARGET
    copy "$1" "$2"
    needed=$(ldd "$1") || die "ldd $1 failed"
    case $needed in
    *'not found'*) die "$1 needs what is not there: $needed" ;;
    esac
    for library in $(printf '%s\n' "$needed" | sed -n 's/^.*\t\(.* => \)\{0,1\}\(\/[^ ]*\) (0x.*$/\2/p'); do
        copy "$library" "$(canonical "$library")"
    done
}

skeleton() {
    mkdir -p "$root/etc/ld.so.conf.d" "$root/usr/lib64" "$root/tmp" "$root/usr/share/common-licenses"
    chmod 1777 "$root/tmp"
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    echo 'root:x:0:0:root:/:/sbin/nologin' >"$root/etc/passwd"
    echo 'halyard:x:65532:65532:halyard:/tmp:/sbin/nologin' >>"$root/etc/passwd"
    printf 'root:x:0:\nhalyard:x:65532:\n' >"$root/etc/group"
    # NVIDIA's runtime looks at these: where libraries belong, and whether there is a cache to bring up to date.
    cp /etc/debian_version "$root/etc/debian_version"
    cp -L /etc/os-release "$root/etc/os-release"
    echo 'include /etc/ld.so.conf.d/*.conf' >"$root/etc/ld.so.conf"
    cp -L /usr/share/common-licenses/* "$root/usr/share/common-licenses"
}

while [ $# -gt 0 ]; do
    case $1 in
    --skeleton) skeleton ;;
    --over)
        base=$2
        cp "$base/usr/share/doc/packages" "$doc"
        shift
        ;;
    --icds)
        for icd in /usr/share/vulkan/icd.d/*.json; do
            library=$(sed -n 's/.*"library_path": *"\([^"]*\)".*/\1/p' "$icd")
            case $icd in
            *virtio* | *gfxstream*) continue ;;
            esac
            copy "$icd" "$icd"
            files="$files $(found "${library##*/}")"
        done
        if [ -d /usr/share/drirc.d ]; then
            for file in /usr/share/drirc.d/*; do copy "$file" "$file"; done
        fi
        ;;
    *) files="$files $1" ;;
    esac
    shift
done
for file in $files; do
    path=$(found "$file")
    if [ -z "$path" ]; then die "no $file here"; fi
    case $path in
    /out/*) with_libraries "$path" "/usr/bin/${path##*/}" ;;
    *.so*) with_libraries "$path" "$(canonical "$path")" ;;
    *) copy "$path" "$path" ;;
    esac
done
sort -u -o "$doc/packages" "$doc/packages"
if [ -z "$base" ]; then
    mkdir -p "$doc/halyard"
    cp /out/LICENSE /out/containers.md /out/build.txt "$doc/halyard"
    ldconfig -r "$root"
fi
rm -rf "${root:?}/var"
find "$root" -exec touch -h -d @0 {} + # the same files are the same layer
