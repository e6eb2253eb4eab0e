#!/bin/sh
# tools/image.sh: the container image of containers/Containerfile without a daemon and without a registry.
# `tools/dev image` installs what it needs and runs it.
set -eu

usage() {
    cat <<'END'
usage: tools/dev image [--target NAME] [--fresh] [-Dnvidia_archs=...] [-Damd_archs=...] [TAG]

Makes the image TAG (default halyard:VERSION) in the store of buildah and podman, and the OCI archive
build-image/NAME.oci.tar of it. The base systems are unpacked from Debian's packages with mmdebstrap; the CUDA toolkit is
this machine's, under /usr/local, if it has one. Compiling again only makes what has changed.

  --target NAME   halyard (default), or vulkan: with Mesa's drivers, then TAG is halyard-vulkan:VERSION
  --fresh         base systems and packages anew, with their updates; what is compiled is kept
  -D...           Meson options for the binary, to build for fewer cards

HALYARD_IMAGE_SOURCE is the address that the labels source and url give (default: that of git's origin, when it is one of
the web).
END
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
say() { printf '%s\n' "tools/dev image: $*" >&2; }
die() {
    say "$*"
    exit 1
}

target=halyard options= tag= fresh=
while [ $# -gt 0 ]; do
    case $1 in
    --target)
        target=${2:?--target needs a name}
        shift
        ;;
    --fresh) fresh=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    -D*) options="$options $1" ;;
    -*)
        usage >&2
        exit 2
        ;;
    *) tag=$1 ;;
    esac
    shift
done
case $target in
halyard) name=halyard ;;
vulkan) name=halyard-vulkan ;;
*) die "no target $target: halyard or vulkan" ;;
esac
version=$(sed -n "s/^ *version : '\([0-9.]*\)',\$/\1/p" meson.build | head -n 1)
tag=${tag:-$name:$version}
case $tag in
*/*) ;;
*) tag=localhost/$tag ;;
esac
folder=build-image
mkdir -p "$folder"

# ---- what goes in --------------------------------------------------------------------------------------

base() { # base RELEASE: the image localhost/halyard-base:RELEASE
    if [ -z "$fresh" ] && podman image exists "localhost/halyard-base:$1"; then return 0; fi
    say "making the base system $1"
    tools/debtree.sh "$1" "$folder/$1" || die "no base system"
    podman import -q "$folder/$1/root.tar" "localhost/halyard-base:$1" >/dev/null
    rm -rf "${folder:?}/$1"
}
base bookworm
base trixie
cache=--layers
if [ -n "$fresh" ]; then cache=--no-cache; fi
set -- --build-arg BUILD_IMAGE=localhost/halyard-base:bookworm --build-arg RUNTIME_IMAGE=localhost/halyard-base:trixie \
    --build-arg CUDA_IMAGE=localhost/halyard-base:bookworm

# This machine's root takes the place of an image with the toolkit; the Containerfile mounts /usr/local of it.
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
nvcc=$(readlink -f "$nvcc" || :)
case $nvcc in
/usr/local/cuda*)
    toolkit=$("$nvcc" --version | sed -n 's/.*release [^,]*, V/nvcc /p')
    set -- "$@" --build-context cuda=/ --build-arg "TOOLKIT=$toolkit"
    say "CUDA kernels by $toolkit: they need a driver of that major version or newer"
    ;;
*) say "no CUDA kernels: there is no nvcc under /usr/local/cuda on this machine" ;;
esac

if revision=$(git rev-parse HEAD 2>/dev/null) && [ -n "$(git status --porcelain)" ]; then revision=$revision-dirty; fi
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)
source=${HALYARD_IMAGE_SOURCE:-}
if [ -z "$source" ]; then
    case $(git config remote.origin.url 2>/dev/null) in
    https://*@*) ;; # a password, perhaps
    https://*) source=$(git config remote.origin.url) ;;
    esac
fi

# ---- building ------------------------------------------------------------------------------------------

say "building $tag"
buildah bud --isolation=chroot --pull=never $cache --format=oci --target "$target" \
    --build-arg "OPTIONS=${options# }" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$created" --build-arg "SOURCE=$source" \
    "$@" -f containers/Containerfile -t "$tag" . >&2
archive=$folder/$name.oci.tar
rm -f "$archive"
# gzip makes a third more of it; what runs containers has read zstd for years (Docker from 23 on, containerd from 1.5).
buildah push -q --compression-format zstd --compression-level 19 "$tag" "oci-archive:$archive:${tag##*/}"

# ---- what is in it -------------------------------------------------------------------------------------

mounted=$(buildah from --pull=never "$tag")
trap 'buildah rm "$mounted" >/dev/null' EXIT
tree=$(buildah mount "$mounted")
say "in the binary:"
cat "$tree/usr/share/doc/halyard/build.txt"
say "files of more than 1 MB:"
(cd "$tree" && find . -type f -size +1000000c -printf '%10s %P\n' | sort -rn)
say "packages:"
cut -f 1 "$tree/usr/share/doc/packages" | paste -sd ' '
say "$archive: $(wc -c <"$archive") bytes compressed, $(du -sb "$tree" | cut -f 1) unpacked"
