#!/usr/bin/env python3
"""Adds up Meson test logs: testsum.py FAILURES CHECK LOG...

FAILURES counts suites that could not even be built; CHECK is 0 when tools/check.py found nothing. Each LOG
is a meson-logs/testlog*.json, one JSON object per line. Names what failed or was skipped, then prints
`N passed, N failed, N skipped` alone on the last line. Exit code 1 if anything failed.
"""
import json
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def reason(test):
    """The last line that a skipped test printed."""
    lines = (test.get("stdout") or "").split("\n") + (test.get("stderr") or "").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    return lines[-1] if lines else "no reason given"


def main(broken, check, logs):
    passed, failed, skipped = int(check == 0), broken + int(check != 0), 0
    if broken:
        print("FAILED   %d suite(s) could not be built or run" % broken)
    if check:
        print("FAILED   check")
    for log in logs:
        with open(log, encoding="utf-8", errors="replace") as rows:
            for row in filter(str.strip, rows):
                test = json.loads(row)
                name = "%s (%s)" % (test["name"], log)
                if test["result"] in PASSED:
                    passed += 1
                elif test["result"] in SKIPPED:
                    skipped += 1
                    print("skipped  %s: %s" % (name, reason(test)))
                else:
                    failed += 1
                    print("FAILED   %s: %s" % (name, test["result"].lower()))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
