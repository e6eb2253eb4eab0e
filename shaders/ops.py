#!/usr/bin/env python3
"""What device code needs to know of the ops, read from the C headers that define them.

  ops.py ROOT OUT     writes OUT (op_numbers.h) from ROOT/hal/op.def, hal/ops.h and hal/dtype.h

  HY_MATMUL_x         number of an operand
  HY_MATMUL_ATTR_act  number of an attribute: its index in hy_args.word
  HY_DTYPE_F16, HY_ACT_SILU, HY_ROPE_HALVES, HY_GATE_NONE, HY_COUNTER_T   as in C

Every piece of those headers has to be of the shape known here; anything else is an error, never a guess.
"""
import os
import re
import sys


class Fault(Exception):
    pass


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return without_comments(f.read())


# ---- op.def ---------------------------------------------------------------------------------------------

MACROS = {  # name: number of arguments
    "HY_OP": 2, "HY_OPERAND": 5, "HY_ATTR_I32": 2, "HY_ATTR_F32": 2, "HY_OP_END": 2,
}


def macro_uses(text):
    """(macro, [argument...]) of each use, in order; nothing else may stand between them."""
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)
    use = re.compile(r'\s*(\w+)\(((?:[^()"]|"[^"]*")*)\)')
    at, found = 0, []
    while text[at:].strip():
        match = use.match(text, at)
        if not match or match.group(1) not in MACROS:
            raise Fault("op.def: cannot read %r" % text[at:].strip().split("\n")[0])
        args = [a.strip() for a in re.findall(r'"[^"]*"|[^,"]+', match.group(2)) if a.strip()]
        if len(args) != MACROS[match.group(1)]:
            raise Fault("op.def: %s(%s) has %d arguments" % (*match.groups(), len(args)))
        found.append((match.group(1), args))
        at = match.end()
    return found


def parse_ops(text):
    """[(NAME, [operand...], [attribute...])]"""
    ops, name = [], None
    for macro, args in macro_uses(text):
        if macro == "HY_OP":
            if name:
                raise Fault("op.def: %s begins inside %s" % (args[0], name))
            name = args[0]
            ops.append((name, [], []))
        elif args[0] != name:
            raise Fault("op.def: %s(%s, ...) stands in %s" % (macro, args[0], name))
        elif macro == "HY_OP_END":
            name = None
        else:
            ops[-1][1 if macro == "HY_OPERAND" else 2].append(args[1])
    if name or not ops:
        raise Fault("op.def: %s has no end" % (name or "the list"))
    return ops


# ---- enums ----------------------------------------------------------------------------------------------

def parse_enum(text, name):
    """[(CONSTANT, value)] of typedef enum name."""
    match = re.search(r"typedef\s+enum\s+%s\s*\{([^{}]*)\}\s*%s\s*;" % (name, name), text)
    if not match:
        raise Fault("no typedef enum %s" % name)
    found, value = [], 0
    for item in match.group(1).split(","):
        item = item.strip()
        if not item:
            continue
        entry = re.fullmatch(r"(HY_\w+)(?:\s*=\s*(\d+))?", item)
        if not entry:
            raise Fault("enum %s: cannot read %r" % (name, item))
        value = int(entry.group(2)) if entry.group(2) else value
        found.append((entry.group(1), value))
        value += 1
    return found


def parse_dtypes(text):
    """[(NAME, text name, elements per block, bytes per block)] in the order of enum hy_dtype, from 1."""
    joined = text.replace("\\\n", " ")
    match = re.search(r"^#define HY_DTYPE_LIST\(X\)(.*)$", joined, re.M)
    if not match:
        raise Fault("dtype.h: no HY_DTYPE_LIST(X)")
    row = re.compile(r'\s*X\((\w+), "(\w+)", (\d+), (\d+), -?\d+\)\s*')
    at, found = 0, []
    while at < len(match.group(1)):
        entry = row.match(match.group(1), at)
        if not entry:
            raise Fault("dtype.h: cannot read %r" % match.group(1)[at:])
        found.append((entry.group(1), entry.group(2), int(entry.group(3)), int(entry.group(4))))
        at = entry.end()
    order = (r"typedef enum hy_dtype \{\s*HY_DTYPE_NONE = 0,\s*"
             r"#define HY_DTYPE_ENUM\(NAME, text, block, bytes, gguf\) HY_DTYPE_##NAME,\s*"
             r"HY_DTYPE_LIST\(HY_DTYPE_ENUM\)\s*#undef HY_DTYPE_ENUM\s*HY_DTYPE_COUNT\s*\} hy_dtype;")
    if not re.search(order, text):
        raise Fault("dtype.h: enum hy_dtype is not NONE = 0, HY_DTYPE_LIST, COUNT")
    return found


# ---- out ------------------------------------------------------------------------------------------------

ENUMS = ["hy_act", "hy_rope_style", "hy_gate", "hy_counter"]


def constants(root):
    """[(name, value)] of all that goes into op_numbers.h."""
    found = []
    for op, operands, attributes in parse_ops(read(root, "hal/op.def")):
        found += [("HY_%s_%s" % (op, name), i) for i, name in enumerate(operands)]
        found += [("HY_%s_ATTR_%s" % (op, name), i) for i, name in enumerate(attributes)]
    ops = read(root, "hal/ops.h")
    for enum in ENUMS:
        found += parse_enum(ops, enum)
    dtypes = parse_dtypes(read(root, "hal/dtype.h"))
    found.append(("HY_DTYPE_NONE", 0))
    found += [("HY_DTYPE_" + row[0], i + 1) for i, row in enumerate(dtypes)]
    names = [name for name, value in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Fault("two meanings of " + ", ".join(twice))
    return found


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: ops.py ROOT OUT")
    lines = ["/* Made by shaders/ops.py from hal/op.def, hal/ops.h and hal/dtype.h; GLSL and C++. */",
             "#ifndef HY_OP_NUMBERS_H", "#define HY_OP_NUMBERS_H"]
    lines += ["#define %s %du" % row for row in constants(sys.argv[1])]
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write("\n".join(lines + ["#endif", ""]))


if __name__ == "__main__":
    try:
        main()
    except (Fault, OSError) as fault:
        sys.exit("ops.py: %s" % fault)
