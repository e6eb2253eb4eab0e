#!/usr/bin/env python3
"""Tests of the command line: test_cli.py HALYARD SUITE [TEST...]. Exits 77 when every test was skipped."""
import importlib
import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main():
    if len(sys.argv) < 3:
        sys.exit('usage: test_cli.py HALYARD SUITE [TEST...]')
    harness.HALYARD = os.path.abspath(sys.argv[1])
    module = importlib.import_module('suite_' + sys.argv[2])
    loader = unittest.defaultTestLoader
    loader.testNamePatterns = [f'*{name}*' for name in sys.argv[3:]] or None
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(loader.loadTestsFromModule(module))
    for test, reason in result.skipped:
        print(f'skipped: {test}: {reason}')
    if not result.wasSuccessful() or not result.passed and not result.skipped:
        sys.exit(1)
    sys.exit(0 if result.passed else 77)


main()
