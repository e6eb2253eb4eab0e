#!/usr/bin/env python3
"""Units of shaders/simt: what is compiled, and embedding what came of it.

  units.py list UNITS ROOT              one line a unit: name;source;-DNAME=VALUE;...
  units.py pack KIND OUT.c OUT.bin FILE...   OUT.c defines KIND_images[] and KIND_image_count (backends/simt/simt.h)
                                        over the bytes of OUT.bin. A file "unit.suffix" has images for several
                                        targets, "unit.arch.suffix" one for that target. No file: no image.
"""
import os
import sys

sys.dont_write_bytecode = True  # the source folder stays as it is
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
import kernel_list  # shaders/kernel_list.py
import ops


def print_list(path, root):
    with open(path, encoding="utf-8") as f:
        rows = kernel_list.rows(f.read(), root, os.path.dirname(path))
    for name, source, defines, _ in rows:
        print(";".join([name, source] + ["-D" + define for define in defines]))


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
    if len(sys.argv) == 4 and sys.argv[1] == "list":
        try:
            print_list(*sys.argv[2:])
        except ops.Fault as e:
            sys.exit("units.txt: %s" % e)
    elif len(sys.argv) >= 5 and sys.argv[1] == "pack":
        pack(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
