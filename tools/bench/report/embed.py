#!/usr/bin/env python3
"""The page of `bench -o html` as a C file: embed.py OUT.c PAGE.html STYLE.css SCRIPT.js...

The page names where style, script and rows go, each on a line of its own: @STYLE@, @SCRIPT@, @ROWS@. Its content
security policy allows exactly this style and this script, by their hashes. OUT.c defines the strings
bench_report_head and bench_report_tail: what stands before and behind the rows.
"""
import base64
import hashlib
import sys


def read(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def hash_of(text):
    return "'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page(template, style, scripts):
    script = "\n(() => {\n'use strict';\n" + '\n'.join(scripts) + '})();\n'
    style = '\n' + style
    for text, end in ((script, '</script'), (style, '</style')):
        if end in text.lower() or '<!--' in text:
            sys.exit('embed.py: %s or <!-- inside' % end)
    for name, text in (('@STYLE_HASH@', hash_of(style)), ('@SCRIPT_HASH@', hash_of(script)),
                       ('\n@STYLE@\n', style), ('\n@SCRIPT@\n', script)):
        if template.count(name) != 1:
            sys.exit('embed.py: the page needs %s once' % name.strip())
        template = template.replace(name, text)
    head, rows, tail = template.partition('@ROWS@\n')
    if not rows:
        sys.exit('embed.py: the page needs @ROWS@')
    return head, tail


def literal(text):
    """A C string, a line of it for each of the text's; bytes outside ASCII in octal, which ends after three digits."""
    lines = []
    for line in text.splitlines(keepends=True):
        codes = {10: '\\n', 34: '\\"', 63: '\\?', 92: '\\\\'}  # \? : no trigraphs
        lines.append('    "%s"' % ''.join(codes.get(b) or (chr(b) if 32 <= b < 127 else '\\%03o' % b)
                                          for b in line.encode()))
    return '\n'.join(lines)


def main():
    out, template, style, *scripts = sys.argv[1:]
    head, tail = page(read(template), read(style), [read(path) for path in scripts])
    with open(out, 'w', encoding='utf-8') as f:
        f.write('/* Made by tools/bench/report/embed.py. */\n')
        for name, text in (('head', head), ('tail', tail)):
            f.write('extern const char bench_report_%s[];\nconst char bench_report_%s[] =\n%s;\n' %
                    (name, name, literal(text)))


main()
