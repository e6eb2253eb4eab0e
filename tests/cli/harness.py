"""What the tests of the command line share: running `halyard`, what success and failure look like, data."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

HALYARD = None  # path of the executable, set by test_cli.py
SANITIZER = os.environ.get('HALYARD_SANITIZER', '')
DATA = os.environ.get('HALYARD_TEST_DATA', '')
MIDDLE_ISA = 'dotprod' if os.uname().machine == 'aarch64' else 'avx2'
TIMEOUT_S = 300 if SANITIZER else 120


def data(*parts):
    """Path of a test input; skips the test when it is not there."""
    path = os.path.join(DATA, *parts)
    if not os.path.exists(path):
        raise unittest.SkipTest(f'no {path}: set HALYARD_TEST_DATA to the folder of test data')
    return path


def tinystories():
    return data('models', 'tinystories-260k', 'stories260K.gguf')


def expected(name):
    with open(data('models', 'tinystories-260k', name), encoding='utf-8') as file:
        return json.load(file)


class Result:
    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __str__(self):
        words = ' '.join(a if isinstance(a, str) else repr(a) for a in self.args)
        out = self.out if len(self.out) < 1500 else self.out[:1500] + b'...'
        return f'\n$ halyard {words}\nexit code {self.code}\nstdout: {out!r}\nstderr: {self.err!r}'

    @property
    def text(self):
        return self.out.decode('utf-8')

    @property
    def json(self):
        return json.loads(self.out)


class CliTest(unittest.TestCase):
    """A folder of its own per class; every command runs inside it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='halyard-cli-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), 'wb') as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def call(self, *args, stdin=b'', stdout=subprocess.PIPE, timeout=TIMEOUT_S, **options):
        """Runs `halyard args`. A hang fails the test."""
        words = [a if isinstance(a, bytes) else str(a) for a in args]
        if hasattr(stdin, 'read'):
            options['stdin'] = stdin
        else:
            options['input'] = stdin
        options.setdefault('env', dict(os.environ, TMPDIR=self.folder))  # what is left behind shows
        try:
            done = subprocess.run([HALYARD] + words, stdout=stdout, stderr=subprocess.PIPE,
                                  cwd=self.folder, timeout=timeout, **options)
        except subprocess.TimeoutExpired:
            self.fail(f'halyard {words} did not end within {timeout} s')
        return Result(words, done.returncode, done.stdout or b'', done.stderr)

    def ok(self, *args, warning=None, **options):
        """Runs and demands success, silent on standard error but for one expected warning."""
        result = self.call(*args, **options)
        self.assertEqual(result.code, 0, result)
        lines = result.err.decode('utf-8').splitlines()
        if warning:
            lines = [line for line in lines if not re.search('halyard: warning: .*' + warning, line)]
        self.assertEqual(lines, [], result)
        return result

    def check_refused(self, result, *patterns, code=None):
        """Exit code 1 or 2 and exactly one line, which matches the patterns, on standard error."""
        self.assertIn(result.code, (1, 2) if code is None else (code,), result)
        self.assertTrue(result.err.startswith(b'halyard'), result)
        self.assertTrue(result.err.endswith(b'\n'), result)
        line = result.err[:-1].decode('utf-8', 'replace')
        self.assertIsNone(re.search('[\x00-\x1f\x7f]', line), f'not one clean line: {result}')
        self.assertGreater(len(line), len('halyard run: ') + 4, result)
        for pattern in patterns:
            self.assertRegex(line, re.compile(pattern, re.IGNORECASE), result)

    def refused(self, *args, match=(), code=None, **options):
        """Runs and demands a clean refusal that leaves no file behind."""
        before = sorted(os.listdir(self.folder))
        result = self.call(*args, **options)
        self.check_refused(result, *([match] if isinstance(match, str) else match), code=code)
        self.assertEqual(sorted(os.listdir(self.folder)), before, f'left behind by {result}')
        return result

    def synth(self, name, shape='tiny', kind='q4_0', *more):
        """A synthetic model in this class's folder."""
        self.ok('synth', shape, '-o', self.path(name), '--type', kind, *more)
        return self.path(name)
