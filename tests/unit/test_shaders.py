#!/usr/bin/env python3
"""test_shaders.py SOURCE CC: the generators in shaders/ agree with the C headers, and refuse what they
do not know."""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

SOURCE, CC = sys.argv[1:3]
del sys.argv[1:]
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(SOURCE, "shaders"), os.path.join(SOURCE, "shaders", "vulkan")]
import kernel_list  # noqa: E402
import ops  # noqa: E402
import spirv  # noqa: E402

HEADERS = ["hal/op.def", "hal/ops.h", "hal/dtype.h"]


class Ops(unittest.TestCase):
    def test_as_the_compiler_sees_them(self):
        lines = ['#include <stddef.h>', '#include "hal/ops.h"']
        for name, value in ops.constants(SOURCE):
            attribute = re.fullmatch(r"HY_(\w+)_ATTR_(\w+)", name)
            if attribute:
                where = "offsetof(hy_%s_attr, %s) / 4" % (attribute.group(1).lower(), attribute.group(2))
            else:
                where = name
            lines.append("_Static_assert(%s == %d, \"%s\");" % (where, value, name))
        run = subprocess.run([CC, "-fsyntax-only", "-x", "c", "-I", SOURCE, "-I", SOURCE + "/include", "-"],
                             input="\n".join(lines), text=True, capture_output=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertGreater(len(lines), 100)

    def fails(self, path, old, new):
        with tempfile.TemporaryDirectory() as root:
            for header in HEADERS:
                os.makedirs(os.path.dirname(os.path.join(root, header)), exist_ok=True)
                shutil.copy(os.path.join(SOURCE, header), os.path.join(root, header))
            ops.constants(root)
            with open(os.path.join(root, path), encoding="utf-8") as f:
                text = f.read()
            changed = text.replace(old, new, 1)
            self.assertNotEqual(changed, text, "%s has no %s" % (path, old))
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(changed)
            with self.assertRaises(ops.Fault):
                ops.constants(root)

    def test_unknown_shapes(self):
        self.fails("hal/op.def", "HY_ATTR_F32(EMBED, scale)", "HY_ATTR_U64(EMBED, scale)")
        self.fails("hal/op.def", "HY_ATTR_F32(EMBED, scale)", "HY_ATTR_F32(EMBED, scale, 1)")
        self.fails("hal/op.def", "HY_ATTR_F32(EMBED, scale)", "HY_ATTR_F32(GLU, scale)")
        self.fails("hal/op.def", "HY_ATTR_F32(EMBED, scale)", "HY_ATTR_F32(EMBED, scale) more")
        self.fails("hal/op.def", "HY_OP_END(EMBED, embed)", "")
        self.fails("hal/ops.h", "HY_GATE_SIGMOID = 1", "HY_GATE_SIGMOID = 1 << 0")
        self.fails("hal/ops.h", "typedef enum hy_gate {", "enum hy_gates {")
        self.fails("hal/dtype.h", "HY_DTYPE_NONE = 0", "HY_DTYPE_NONE = 1")
        self.fails("hal/dtype.h", 'X(Q4_0, "q4_0", 32, 18, 2)', 'X(Q4_0, "q4_0", 32, 18)')


class Lists(unittest.TestCase):
    folder = os.path.join(SOURCE, "shaders", "vulkan")

    def read(self, text):
        return kernel_list.rows(text, SOURCE, self.folder, spirv.EXTENSIONS)

    def test_placeholders(self):
        found = self.read("# a comment\nz pack.comp A B=2\nm.{f} pack.comp C={f} @dot\n")
        self.assertEqual([row[0] for row in found], ["m.bf16", "m.f16", "m.f32", "z"])
        self.assertEqual(found[1][2], ["C=f16", "FORMAT_f16=1", "FORMAT=HY_DTYPE_F16"])
        self.assertEqual((found[1][3], found[3][2:]), ({"dot"}, (["A", "B=2"], set())))
        blocks = {row[0] for row in self.read("{b} pack.comp")}
        self.assertEqual(len(blocks), 13)
        self.assertFalse(blocks & {"f32", "f16", "bf16", "i32", "a8"})
        self.assertEqual({row[0] for row in self.read("{w} pack.comp")}, blocks | {"f32", "f16", "bf16"})
        self.assertEqual([row[0] for row in self.read("{q4_0,f16} pack.comp")], ["f16", "q4_0"])

    def test_refused(self):
        for line in ("m", "m nofile.comp", "m pack.comp @new", "m pack.comp A;B", "M pack.comp",
                     "m.{x} pack.comp", "m.{b}.{f} pack.comp", "m pack.comp\nm pack.comp"):
            with self.assertRaises(ops.Fault, msg=line):
                self.read(line)
        with self.assertRaises(ops.Fault):  # no extensions there
            kernel_list.rows("m pack.comp @dot", SOURCE, self.folder)


class Spirv(unittest.TestCase):
    def test_strip(self):
        def words(*values):
            return struct.pack("=%dI" % len(values), *values)

        header = words(spirv.MAGIC, 0x10500, 0, 10, 0)
        capability, name, line = words(2 << 16 | 17, 1), words(3 << 16 | 5, 1, 0), words(4 << 16 | 8, 1, 2, 3)
        self.assertEqual(spirv.strip(header + capability + name + line + capability),
                         header + capability + capability)
        for broken in (b"", header[:-4], words(1, 2, 3, 4, 5), header + words(0), header + capability[:4],
                       header + name[:-1]):
            with self.assertRaises(ops.Fault):
                spirv.strip(broken)


unittest.main()
