#!/usr/bin/env python3
"""Shader modules from modules.txt to one C file; called by shaders/vulkan/meson.build.

  spirv.py list MODULES ROOT [dot] [coopmat]   every module that this glslang can build, a line each:
                                               name;source;-DX;-DY=1. Those left out: !name
  spirv.py pack OUT.c OUT.bin FILE.spv...      OUT.bin holds all words, OUT.c vulkan_modules[] over them
                                               (backends/vulkan/vulkan.h); a module's name is its file's
  spirv.py validate SPIRV_VAL FILE.spv...      as packed, each must be valid for Vulkan 1.2

Packing drops what only a debugger reads: names, source file and line.
"""
import concurrent.futures
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys

sys.dont_write_bytecode = True  # the source folder stays as it is
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
import kernel_list  # shaders/kernel_list.py
import ops

EXTENSIONS = ("dot", "coopmat")


def print_list(path, root, *extensions):
    with open(path, encoding="utf-8") as f:
        rows = kernel_list.rows(f.read(), root, os.path.dirname(path), EXTENSIONS)
    for name, source, defines, needs in rows:
        if needs <= set(extensions):
            print(";".join([name, source] + ["-D" + define for define in defines]))
        else:
            print("!" + name)


# ---- SPIR-V: The SPIR-V Specification, 2.3 Physical Layout -----------------------------------------------

MAGIC, HEADER_WORDS = 0x07230203, 5
DEBUG = {  # opcodes without effect on what a module does
    2: "OpSourceContinued", 3: "OpSource", 4: "OpSourceExtension", 5: "OpName", 6: "OpMemberName",
    7: "OpString", 8: "OpLine", 317: "OpNoLine", 330: "OpModuleProcessed",
}


def strip(data):
    """Bytes of a module without its debug instructions."""
    words = struct.unpack("=%dI" % (len(data) // 4), data[:len(data) // 4 * 4])
    if len(data) % 4 or len(words) < HEADER_WORDS or words[0] != MAGIC:
        raise ops.Fault("not a SPIR-V module")
    if b"NonSemantic." in data:  # such instructions refer to OpString
        raise ops.Fault("module with non-semantic instructions")
    kept, at = bytearray(data[:4 * HEADER_WORDS]), HEADER_WORDS
    while at < len(words):
        opcode, length = words[at] & 0xffff, words[at] >> 16
        if length == 0 or at + length > len(words):
            raise ops.Fault("broken SPIR-V module")
        if opcode not in DEBUG:
            kept += data[4 * at:4 * (at + length)]
        at += length
    return bytes(kept)


def read_module(path):
    with open(path, "rb") as f:
        data = f.read()
    try:
        return strip(data)
    except ops.Fault as fault:
        raise ops.Fault("%s: %s" % (path, fault)) from None


def module_name(path):
    return os.path.basename(path)[:-len(".spv")]


# The assembler reads the words: as C text they would take the compiler longer than all shaders together.
C_FILE = """/* Made by shaders/vulkan/spirv.py: %(count)d modules, %(bytes)d bytes, %(hash)s. */
#include "backends/vulkan/vulkan.h"

extern const uint32_t vulkan_module_words[] __attribute__((visibility("hidden")));
__asm__(".pushsection .rodata\\n"
        ".balign 16\\n"
        ".globl vulkan_module_words\\n"
        ".hidden vulkan_module_words\\n"
        "vulkan_module_words:\\n"
        ".incbin \\"%(bin)s\\"\\n"
        ".popsection\\n");

const vulkan_module vulkan_modules[] = {
%(rows)s
};
const size_t vulkan_module_count = %(count)d;
"""


def pack(out_c, out_bin, *files):
    rows, words = [], b""
    for path in sorted(files, key=module_name):
        module = read_module(path)
        rows.append('    {"%s", vulkan_module_words + %d, %d},' % (module_name(path), len(words) // 4, len(module)))
        words += module
    with open(out_bin, "wb") as f:
        f.write(words)
    if not rows:
        rows = ["    {0}, /* none */"]
    text = C_FILE % {"count": len(files), "bytes": len(words), "hash": hashlib.sha256(words).hexdigest()[:16],
                     "bin": os.path.abspath(out_bin).replace("\\", "/"), "rows": "\n".join(rows)}
    with open(out_c, "w", encoding="utf-8") as f:
        f.write(text)


def validate(tool, *files):
    if not shutil.which(tool):
        print("skipped: no spirv-val (spirv-tools)")
        return 77

    def check(path):
        run = subprocess.run([tool, "--target-env", "vulkan1.2", "-"], input=read_module(path),
                             capture_output=True)
        return run.returncode, (run.stdout + run.stderr).decode(errors="replace").strip()

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, (code, text) in zip(files, pool.map(check, files)):
            if code or text:
                failed += 1
                print("%s: %s" % (module_name(path), text or "exit code %d" % code))
    print("%d modules, %d not valid" % (len(files), failed))
    return 1 if failed or not files else 0


def main():
    commands = {"list": (print_list, 2), "pack": (pack, 2), "validate": (validate, 1)}
    words = sys.argv[1:]
    if not words or words[0] not in commands or len(words) - 1 < commands[words[0]][1]:
        sys.exit(__doc__.strip())
    return commands[words[0]][0](*words[1:])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ops.Fault, OSError) as fault:
        sys.exit("spirv.py: %s" % fault)
