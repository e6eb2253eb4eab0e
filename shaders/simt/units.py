#!/usr/bin/env python3
"""Units of shaders/simt: what is compiled, and embedding what came of it.

  units.py list UNITS                   one line a unit: name;source;-DNAME=VALUE;...
  units.py pack KIND OUT.c OUT.bin FILE...   OUT.c defines KIND_images[] and KIND_image_count (backends/simt/simt.h)
                                        over the bytes of OUT.bin. A file "unit.suffix" has images for several
                                        targets, "unit.arch.suffix" one for that target. No file: no image.
"""
import os
import sys

BLOCKS = ("q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4").split()
FLOATS = "f32 f16 bf16".split()
PLACES = {"{b}": BLOCKS, "{f}": FLOATS, "{w}": FLOATS + BLOCKS}


def expand(line):
    """(name, source, [definition...]) of each unit of a line."""
    words = line.split()
    if len(words) < 2:
        sys.exit("units.py: %r has no source" % line)
    place = next((p for p in PLACES if p in words[0]), None)
    for name in PLACES[place] if place else [None]:
        unit = [word.replace(place, name) if place else word for word in words]
        definitions = ["-D" + word for word in unit[2:]]
        if place:
            definitions += ["-DFORMAT_%s=1" % name, "-DFORMAT=HY_DTYPE_" + name.upper(),
                            "-DFORMAT_NAME=" + name]
        yield unit[0], unit[1], definitions


def units(path):
    found = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line:
                found += expand(line)
    names = [unit[0] for unit in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        sys.exit("units.py: two units " + ", ".join(twice))
    return found


def pack(kind, source, blob, files):
    rows, at = [], 0
    with open(blob, "wb") as out:
        for path in files:
            parts = os.path.basename(path).split(".")
            with open(path, "rb") as f:
                data = f.read()
            out.write(data + b"\0" * (-len(data) % 64))
            rows.append('    {"%s", "%s", %s_bytes + %d, %d},' %
                        (parts[0], parts[1] if len(parts) > 2 else "", kind, at, len(data)))
            at += len(data) + -len(data) % 64
        if not files:
            out.write(b"\0" * 64)
    lines = ["/* Made by shaders/simt/units.py. */", '#include "backends/simt/simt.h"',
             "extern const unsigned char %s_bytes[];" % kind,
             '__asm__(".section .rodata\\n.balign 64\\n.hidden %s_bytes\\n.globl %s_bytes\\n%s_bytes:\\n"' %
             (kind, kind, kind),
             '        ".incbin \\"%s\\"\\n.previous\\n");' % os.path.abspath(blob),
             "extern const simt_image %s_images[];" % kind, "extern const size_t %s_image_count;" % kind,
             "const simt_image %s_images[] = {" % kind]
    lines += rows or ['    {"", "", NULL, 0},']
    lines += ["};", "const size_t %s_image_count = %d;" % (kind, len(rows)), ""]
    with open(source, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "list":
        for name, source, definitions in units(sys.argv[2]):
            print(";".join([name, source] + definitions))
    elif len(sys.argv) >= 5 and sys.argv[1] == "pack":
        pack(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
