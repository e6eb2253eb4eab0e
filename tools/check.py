#!/usr/bin/env python3
"""What a reviewer need not look for by eye. `tools/dev check` runs it.

  tools/check.py             one line per finding, exit code 1 if there is any
  tools/check.py --largest   the largest files and functions
  tools/check.py --warnings BUILD   also compiles everything again, as BUILD/compile_commands.json says, and
                             counts each warning of its compiler, and of clang 14 where it is installed

It checks, over the .c, .h, .cu, .cpp, .comp and .glsl files of the repository:
  format      clang-format 14 would leave the file as it is (all but GLSL); no tabs, no trailing blanks, no line over
              120 columns (GLSL, which clang-format does not know)
  length      no file over 800 lines, no function over 80 (data tables are not functions; a file that is
              a table says `check: table` in its first ten lines)
  includes    no include points up the house (docs/architecture.md), ALLOWED below
  comments    every declaration in a header has a comment (inside the house, a static inline function
              whose name says it all may go without); GLSL begins with /* its path: what it is
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # --root replaces it
FILE_LINES, FUNCTION_LINES = 800, 80
FORMAT_VERSION = 14

# What files under a folder may include, by prefix. The longest matching folder counts; a folder that is
# not listed may include anything (tests). "halyard/status.h" is everybody's.
GROUND = ["base/", "hal/", "halyard/status.h"]
GPU = GROUND + ["backends/gpu/", "shaders/"]
ALLOWED = {
    "include/": ["halyard/"],
    "base/": ["base/", "halyard/status.h"],
    "hal/": GROUND,
    "shaders/": ["shaders/", "tests/emulator/emulator.h"],
    "backends/": GROUND + ["backends/"],  # registry.c, the only one that knows every backend
    "backends/gpu/": GPU,
    "backends/simt/": GPU + ["backends/simt/"],
    "backends/cuda/": GPU + ["backends/simt/", "backends/cuda/"],
    "backends/hip/": GPU + ["backends/simt/", "backends/hip/"],
    "backends/vulkan/": GPU + ["backends/vulkan/"],
    "src/graph/": GROUND + ["src/graph/"],
    "src/compile/": GROUND + ["src/graph/", "src/compile/"],
    "src/format/": GROUND + ["src/format/"],
    "src/text/": GROUND + ["src/format/", "src/text/"],
    "models/": GROUND + ["src/graph/", "src/format/", "models/"],
    "src/engine/": GROUND + ["backends/registry.h", "src/graph/", "src/compile/", "src/format/",
                             "src/text/", "models/model.h", "src/engine/", "halyard/"],
    "tools/": ["tools/", "halyard/"],
    "tools/bench/": ["tools/", "halyard/", "base/"],  # cpus are counted as the pool counts them
    "examples/": ["halyard/"],
}
# Subcommands that look inside, under the names their files begin with; probe.c and predict.c measure devices through
# the HAL.
INSIDE = ("verify", "inspect", "synth", "eval", "probe", "predict")


def own_backend(path):
    """backends/cpu/x.c -> GROUND and its own folder, for backends not listed by name."""
    parts = path.split("/")
    return GROUND + ["backends/%s/" % parts[1]] if parts[0] == "backends" and len(parts) > 2 else None


def allowed_for(path):
    if path.startswith("tools/") and os.path.basename(path).startswith(INSIDE):
        return None
    folders = [f for f in ALLOWED if path.startswith(f)]
    if not folders:
        return None
    best = max(folders, key=len)
    return own_backend(path) or ALLOWED[best] if best == "backends/" else ALLOWED[best]


GLSL = (".comp", ".glsl")
GLSL_COLUMNS = 120
GENERATED = ("op_numbers.h",)  # found by -I in the build folder


def source_files():
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(d for d in folders if not d.startswith((".", "build")) and d != "subprojects")
        for name in sorted(names):
            if name.endswith((".c", ".h", ".cu", ".cpp") + GLSL):
                found.append(os.path.relpath(os.path.join(folder, name), ROOT).replace(os.sep, "/"))
    return found


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def blank(match):
    """Comments and literals become spaces; line breaks stay, so that line numbers hold."""
    return re.sub(r"[^\n]", " ", match.group())


TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def bare(text):
    """Code without comments, literals and preprocessor lines."""
    text = TOKENS.sub(blank, text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)


def top_level(code):
    """Yields (kind, text, first line, last line) of each declaration or body at the top level, where kind
    is 'function' or 'declaration'. Blocks of extern "C" are looked into."""
    depth, start, function, i, n = 0, None, False, 0, len(code)
    while i < n:
        c = code[i]
        if depth == 0 and c == "}":  # the end of an extern block
            start = None
        elif c == "{":
            if depth == 0:
                head = code[start:i].strip() if start is not None else ""
                if re.fullmatch(r"extern", head):  # its "C" was blanked
                    start = None
                    i += 1
                    continue
                function = head.endswith(")") and "=" not in head and not head.startswith("typedef")
            depth += 1
        elif c == "}":
            depth -= 1
            if depth == 0 and function:
                yield "function", code[start:i + 1], line_of(code, start), line_of(code, i)
                start, function = None, False
        elif c == ";" and depth == 0 and start is not None:
            yield "declaration", code[start:i + 1], line_of(code, start), line_of(code, i)
            start = None
        elif start is None and not c.isspace() and c != ";":
            start = i
        i += 1


def line_of(code, at):
    return code.count("\n", 0, at) + 1


def name_of(text):
    head = text.split("{")[0]
    head = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head)
    call = re.search(r"(\w+)\s*\(", head)
    if call:
        return call.group(1)
    words = re.findall(r"\w+", text)
    return words[-1] if words else text.strip()


def check_lengths(path, text, findings):
    lines = text.count("\n")
    head = "\n".join(text.split("\n")[:10])
    if lines > FILE_LINES and "check: table" not in head:
        findings.append("%s: %d lines, more than %d" % (path, lines, FILE_LINES))
    for kind, body, first, last in top_level(bare(text)):
        if kind == "function" and last - first + 1 > FUNCTION_LINES:
            findings.append("%s:%d: %s has %d lines, more than %d" %
                            (path, first, name_of(body), last - first + 1, FUNCTION_LINES))


def check_includes(path, text, findings):
    allowed = allowed_for(path)
    without_comments = re.sub(r"/\*.*?\*/", blank, text, flags=re.S)
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', without_comments, re.M):
        name = match.group(1)
        where = "%s:%d" % (path, line_of(text, match.start()))
        beside = path.endswith(GLSL) and "/" not in name
        if name in GENERATED or beside and os.path.exists(os.path.join(ROOT, os.path.dirname(path), name)):
            continue
        if "/" not in name or ".." in name:
            findings.append('%s: #include "%s": write the path from the repository root' % (where, name))
        elif allowed is not None and not name.startswith(tuple(allowed)):
            findings.append('%s: #include "%s" points up or across the house' % (where, name))


def has_comment(lines, first, last):
    """A comment inside or beside the declaration, or right above the block of lines it stands in."""
    if any("/*" in line or "//" in line for line in lines[first - 1:last]):
        return True
    at = first - 2
    while at >= 0 and lines[at].strip():
        line = lines[at].strip()
        if line.endswith("*/") or line.startswith("//"):
            return True
        at -= 1
    return False


def check_comments(path, text, findings):
    lines = text.split("\n")
    for kind, body, first, last in top_level(bare(text)):
        flat = " ".join(body.split())
        plain = re.fullmatch(r"(typedef )?(struct|union|enum) \w+( \w+)?;", flat)
        plain = plain or flat.startswith("static inline ")
        if plain and not path.startswith("include/"):
            continue
        if flat.startswith("_Static_assert") or has_comment(lines, first, last):
            continue
        findings.append("%s:%d: %s has no comment" % (path, first, name_of(body)))


def check_head(path, text, findings):
    if not text.startswith("/* %s: " % path):
        findings.append("%s:1: does not begin with /* %s: what it is" % (path, path))


def check_glsl(path, text, findings):
    check_head(path, text, findings)
    for number, line in enumerate(text.split("\n"), 1):
        if "\t" in line or line != line.rstrip() or len(line) > GLSL_COLUMNS:
            findings.append("%s:%d: a tab, a trailing blank or more than %d columns" %
                            (path, number, GLSL_COLUMNS))


def formatter():
    for name in ("clang-format-%d" % FORMAT_VERSION, "clang-format"):
        tool = shutil.which(name)
        if tool:
            out = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
            if re.search(r"version %d\." % FORMAT_VERSION, out):
                return tool
    return None


def check_format(files, findings):
    tool = formatter()
    if not tool:
        print("format: skipped, clang-format %d is not here" % FORMAT_VERSION, file=sys.stderr)
        return
    for i in range(0, len(files), 50):
        run = subprocess.run([tool, "--dry-run", "--Werror", *files[i:i + 50]], cwd=ROOT,
                             capture_output=True, text=True)
        seen = set()
        for line in run.stderr.split("\n"):
            match = re.match(r"(.+?):(\d+):\d+: error: .*clang-format-violations", line)
            if match and match.group(1) not in seen:
                seen.add(match.group(1))
                findings.append("%s:%s: not as clang-format writes it" % match.groups())
        if run.returncode and not seen:
            findings.append("clang-format: " + run.stderr.strip().split("\n")[0])


def compile_again(command, folder):
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    lines = []
    for line in run.stderr.split("\n"):
        match = re.match(r"([^:]+)(:.*: (?:fatal )?(?:error|warning): .*)", line)
        if match:
            path = os.path.relpath(os.path.join(folder, match.group(1)), ROOT)
            lines.append(path + match.group(2))
    return lines or ([run.stderr.strip().split("\n")[0]] if run.returncode else [])


def check_warnings(build, findings):
    commands = os.path.join(build, "compile_commands.json")
    if not os.path.exists(commands):
        sys.exit("check: no %s; build first" % commands)
    with open(commands, encoding="utf-8") as f:
        rows = [row for row in json.load(f) if row["file"].endswith(".c")]
    clang = shutil.which("clang-14")
    if not clang:
        print("warnings: clang skipped, clang-14 is not here", file=sys.stderr)
    jobs, seen = [], set()
    for row in rows:
        words = shlex.split(row["command"])
        for option, count in (("-MF", 2), ("-MQ", 2), ("-o", 2), ("-MD", 1)):
            if option in words:
                at = words.index(option)
                del words[at:at + count]
        words = [w for w in words if not w.startswith("-fdiagnostics")]
        key = " ".join(w for w in words if not re.match(r"-I.*\.p$", w))
        if key in seen:  # the same file compiled for another target
            continue
        seen.add(key)
        jobs.append((words + ["-o", os.devnull], row["directory"]))
        if clang:
            jobs.append(([clang] + words[1:] + ["-fsyntax-only", "-Wno-unknown-warning-option"],
                         row["directory"]))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for lines in pool.map(lambda job: compile_again(*job), jobs):
            for line in lines:
                if line not in findings:
                    findings.append(line)


def print_largest(files):
    sizes, functions = [], []
    for path in files:
        text = read(path)
        sizes.append((text.count("\n"), path))
        for kind, body, first, last in top_level(bare(text)):
            if kind == "function":
                functions.append((last - first + 1, "%s:%d %s" % (path, first, name_of(body))))
    for title, rows in (("files", sizes), ("functions", functions)):
        print("largest %s (of %d, %d lines in all)" % (title, len(rows), sum(r[0] for r in rows)))
        for lines, name in sorted(rows, key=lambda r: (-r[0], r[1]))[:15]:
            print("%6d  %s" % (lines, name))


def main():
    parser = argparse.ArgumentParser(description="checks format, length, includes and comments")
    parser.add_argument("--largest", action="store_true", help="print the largest files and functions")
    parser.add_argument("--warnings", metavar="BUILD", help="compile again and count warnings")
    parser.add_argument("--root", help="the tree to look at (this one)")
    args = parser.parse_args()
    if args.root:
        global ROOT
        ROOT = args.root
    files = source_files()
    if args.largest:
        print_largest(files)
        return 0
    findings = []
    check_format([path for path in files if not path.endswith(GLSL)], findings)
    for path in files:
        text = read(path)
        check_lengths(path, text, findings)
        check_includes(path, text, findings)
        if path.endswith(".h") and not path.startswith(("tests/", "shaders/simt/")):  # those are code, as GLSL is
            check_comments(path, text, findings)
        if path.endswith(GLSL):
            check_glsl(path, text, findings)
        if path.endswith(".cu"):
            check_head(path, text, findings)
    if args.warnings:
        check_warnings(args.warnings, findings)
    for finding in findings:
        print(finding)
    print("check: %d files, %d findings" % (len(files), len(findings)), file=sys.stderr)
    return 1 if findings else 0


sys.exit(main())
