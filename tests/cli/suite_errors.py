"""What is refused, and how: wrong usage, texts, ids, devices, memory, and outputs that cannot be written."""
import math
import os
import resource
import signal
import subprocess
import time
import unittest

import gguf_file
import harness
from harness import CliTest, SANITIZER, tinystories

COMMANDS = 'run bench devices inspect tokenize eval quantize synth verify'.split()


class Usage(CliTest):
    """Wrong words on the command line: exit code 2."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tinystories()

    def wrong(self, line, *match):
        words = [self.model if word == 'MODEL' else word for word in line.split()]
        with self.subTest(line):
            self.refused(*words, match=match, code=2)

    def test_commands(self):
        self.wrong('walk', "unknown command 'walk'", *COMMANDS)
        self.refused('two\nlines\x1b[31m', match='unknown command', code=2)
        result = self.call()
        self.assertEqual((result.code, result.out), (2, b''))
        for name in COMMANDS:
            self.wrong(f'{name} --no-such-option', '--no-such-option', f'halyard {name} --help')
            self.wrong(f'{name} a b c d e', 'unexpected argument')

    def test_missing(self):
        for name in ('run', 'tokenize', 'eval -p x'):
            self.wrong(name, 'no model', '-m FILE')
        self.wrong('inspect', 'no model')
        self.wrong('eval -m MODEL', '-f, -p and --ids')
        for line in ('quantize', 'quantize a', 'quantize a b'):
            self.wrong(line, 'IN.gguf OUT.gguf TYPE')
        for line in ('synth', 'synth tiny', 'synth -o x.gguf'):
            self.wrong(line, 'SHAPE', '-o FILE', '--list')
        for line in ('run -m', 'run -m MODEL -n', 'bench -r', 'eval --logits'):
            self.wrong(line, 'needs a value')

    def test_values(self):
        for word in ('-5x', 'abc', '99999999999', '1.5', ''):
            with self.subTest(word):
                self.refused('run', '-m', self.model, '-n', word, match=('-n', 'valid'), code=2)
        for option in ('-c', '-t', '-b', '-ub', '--top-k', '--seed', '--repeat-last-n', '--cpu-mask'):
            for word in ('-1', 'many', '1e3', '99999999999999999999999'):
                self.wrong(f'run -m MODEL {option} {word}', option, 'valid')
        for option in ('--temp', '--top-p', '--min-p', '--typical', '--repeat-penalty'):
            for word in ('warm', '1,5', '1e999', '0.5x'):
                self.wrong(f'run -m MODEL {option} {word}', option, 'valid')
        self.wrong('run -m MODEL --json=yes', '--json takes no value')
        self.wrong('run -m MODEL -p a -f b', 'one of -p, -f and --ids')
        self.wrong('eval -m MODEL -p a --ids 1', 'one of -f, -p and --ids')
        self.wrong('run -m MODEL --kv-type f8', 'f8', 'f16, f32, q8_0')
        self.wrong('eval -m MODEL -p a --kv-type F32', 'F32', 'f16, f32, q8_0')
        self.wrong('run -m MODEL --numerics exact', 'exact', 'invariant, fast')
        self.wrong('bench -m MODEL -r 0', '-r 0')
        self.wrong('bench -m MODEL -r 101', '-r 101', '100')
        self.wrong('bench -m MODEL -p 0 -n 0', 'nothing')

    def test_out_of_range(self):
        """Numbers that are numbers, but not possible ones."""
        for options, *match in (
                ('--temp -1', 'temperature', '-1'), ('--temp nan', 'temp'), ('--temp inf', 'temp'),
                ('--top-p 1.5', 'top_p', '1.5'), ('--top-p -0.1', 'top_p'), ('--min-p 2', 'min_p'),
                ('--typical nan', 'typical'), ('--repeat-penalty -2', 'penalty'),
                ('--repeat-last-n 4000000000', 'window'),
                ('-t 1000000', '1000000'), ('-b 4000000000', '4000000000'), ('-c 4294967295', ''),
                ('--isa sse9', 'sse9', harness.MIDDLE_ISA), ('--kv-type q8_0', '')):
            with self.subTest(options):
                self.refused('run', '-m', self.model, '-p', 'a', '-n', '1', *options.split(), match=match)

    def test_names(self):
        self.refused('synth', 'huge', '-o', 'x.gguf', match=('huge', 'tiny', 'llama-3.2-1b', 'qwen3-0.6b'))
        self.refused('synth', 'tiny', '-o', 'x.gguf', '--type', 'q9', match=('q9', 'q4_k', 'mxfp4'))
        self.refused('quantize', self.model, 'x.gguf', 'q9', match=('q9', 'q4_k', 'mxfp4'))
        self.refused('bench', '--synth', 'huge:q4_0', match=('huge', 'tiny'))
        self.refused('bench', '--synth', 'tiny:q9', match=('q9', 'q4_0'))
        self.refused('bench', '--synth', 'x' * 300, match='synth')
        self.refused('verify', '--op', 'dance', match='dance')
        self.refused('verify', '--kernel', 'cpu.dance', '--op', 'rope', '--quick', match='kernel')
        self.refused('verify', '--isa', 'sse9', '--op', 'rope', match='sse9')
        self.refused('verify', '--cases', 'no-such-folder', match='no-such-folder')
        self.refused('verify', '--cases', '.', match='')


class Input(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tinystories()

    def test_device(self):
        for command in (('run', '-m', self.model, '-p', 'a'), ('eval', '-m', self.model, '-p', 'a b'),
                        ('inspect', self.model, '--plan'), ('verify', '--op', 'rope'),
                        ('bench', '-m', self.model, '-p', 1, '-n', 1, '-r', 1)):
            self.refused(*command, '--device', 'abacus:3', match=('abacus', r'\bcpu\b', r'\bref\b'))
        for name in ('cpu:99', 'cpu:x', 'cpu,', ',', 'cpu=', 'cpu=12Q', 'cpu:0:0', 'x' * 500, 'cpu ref', 'CPU'):
            with self.subTest(name):
                self.refused('run', '-m', self.model, '-p', 'a', '--device', name, match='')

    def test_prompt_longer_than_the_context(self):
        ids = ','.join(['403'] * 150)
        self.refused('run', '-m', self.model, '--ids', ids, match=(r'\b150\b', r'\b128\b'))
        self.refused('run', '-m', self.model, '-c', 64, '-p', 'red ball ' * 200, match=(r'\b64\b', 'context'))
        self.refused('run', '-m', self.model, '-f', '-', stdin=b'x' * 100000, match='context of 128')
        self.refused('run', '-m', self.model, '-c', 140, '--ids', ids, match=(r'\b150\b', r'\b140\b'))

    def test_invalid_utf8(self):
        for raw in (b'abc\xff', b'\xc3', b'\xe2\x82', b'\xed\xa0\x80', b'\xc0\x80', b'ok \x80 ok', b'\xf5\x80\x80\x80'):
            name = self.write('raw.txt', raw)
            for command in ('run', 'eval', 'tokenize'):
                with self.subTest(command=command, raw=raw):
                    self.refused(command, '-m', self.model, '-p', raw, match='UTF-8')
                    self.refused(command, '-m', self.model, '-f', name, match='UTF-8')
                    self.refused(command, '-m', self.model, '-f', '-', stdin=raw, match='UTF-8')

    def test_zero_bytes_in_a_file(self):
        """A text may hold a zero byte; nothing behind it is lost."""
        result = self.ok('tokenize', '-m', self.model, '--json', '-f', '-', stdin=b'a\0b').json['ids']
        self.assertEqual(self.ok('tokenize', '-m', self.model, '--decode', '-p', json_list(result)).out, b'a\0b\n')

    def test_ids(self):
        for ids in ('512', '1,99999', '2147483647'):
            self.refused('run', '-m', self.model, '--ids', ids, match=('512|99999|2147483647', '511'))
            self.refused('eval', '-m', self.model, '--ids', '1,' + ids, match=('512|99999|2147483647', '511'))
            self.refused('tokenize', '-m', self.model, '--decode', '-p', ids, match='512|99999|2147483647')
        for ids in ('1,x', '-1', '1,,2', '1;2', '99999999999', ' ', '0x10'):
            with self.subTest(ids):
                self.refused('run', '-m', self.model, '--ids', ids, match='list of token ids', code=2)
        self.refused('tokenize', '-m', self.model, '--decode', '-p', 'one two', match='list of token ids')
        self.refused('run', '-m', self.model, '--ids', '', match='prompt|ids')
        self.refused('eval', '-m', self.model, '--ids', '', match='no tokens|ids')

    def test_empty_prompt(self):
        self.refused('run', '-m', self.model, '--no-bos', match=('empty', 'BOS'))
        self.refused('run', '-m', self.model, '--no-bos', '-p', '', match=('empty', 'BOS'))
        self.refused('eval', '-m', self.model, '--no-bos', '-p', '', match='no tokens')

    def test_unknown_chat_template(self):
        model = gguf_file.load(self.model)
        model.set_string('tokenizer.chat_template', '{{ messages | dance }}')
        path = self.write('odd.gguf', model.bytes())
        self.refused('run', '-m', path, '--chat', '-p', 'Hi', match=('template', 'chatml'))
        self.refused('run', '-m', path, '-i', stdin=b'Hi\n', match=('template', 'chatml'))

    def test_files_that_are_no_models(self):
        self.write('empty.gguf', b'')
        os.makedirs(self.path('folder.gguf'), exist_ok=True)
        os.mkfifo(self.path('pipe.gguf')) if not os.path.exists(self.path('pipe.gguf')) else None
        names = (('missing.gguf', 'no such file'), ('folder.gguf', 'directory'), ('empty.gguf', 'empty|truncated'),
                 ('pipe.gguf', 'regular'), ('/dev/null', 'regular|empty'), ('', ''), ('missing/x.gguf', 'no such file'))
        for name, match in names:
            for command in (('run', '-p', 'a', '-m'), ('eval', '-p', 'a', '-m'), ('tokenize', '-p', 'a', '-m'),
                            ('inspect',), ('bench', '-m')):
                with self.subTest(command=command[0], name=name):
                    self.refused(*command, name, match=(os.path.basename(name), match), timeout=20)
            with self.subTest(command='quantize', name=name):
                self.refused('quantize', name, 'out.gguf', 'q8_0', match=(os.path.basename(name), match), timeout=20)
        self.refused('run', '-m', self.model, '-f', 'missing.txt', match=('missing.txt', 'no such file'))
        self.refused('run', '-m', self.model, '-f', 'folder.gguf', match=('folder.gguf', 'directory'))
        self.refused('run', '-m', b'odd\xffname\n.gguf', '-p', 'a', match='no such file')

    def test_unreadable(self):
        path = self.write('secret.gguf', b'GGUF')
        os.chmod(path, 0)
        os.chmod(self.folder, 0o755)
        nobody = {'user': 65534, 'extra_groups': []} if os.geteuid() == 0 else {}
        try:
            if self.call('--version', **nobody).code != 0:
                self.skipTest('another user cannot run the executable')
        except PermissionError as error:
            self.skipTest(f'another user cannot run the executable: {error}')
        self.refused('run', '-m', path, '-p', 'a', match=('secret.gguf', 'permission'), **nobody)
        self.refused('inspect', path, match=('secret.gguf', 'permission'), **nobody)


def json_list(ids):
    return ','.join(str(i) for i in ids)


class Memory(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tiny = cls('test_predicted').synth('tiny.gguf')

    def test_predicted(self):
        """Two terabytes of cache, for 64 layers: refused before anything is loaded, with both numbers."""
        model = gguf_file.load(self.tiny)
        layer = [t for t in model.tensors if t.name.startswith('blk.1.')]
        for i in range(2, 64):
            model.tensors += [gguf_file.Tensor(t.name.replace('blk.1.', f'blk.{i}.'), t.dims, t.kind, None, t.data)
                              for t in layer]
        model.set_u32('llama.block_count', 64)
        path = self.write('deep.gguf', model.bytes())
        self.ok('run', '-m', path, '-p', 'a', '-n', 1)
        for command in (('run', '-p', 'a'), ('eval', '-p', 'a b'), ('run', '-p', 'a', '--device', 'ref')):
            self.refused(*command, '-m', path, '-c', 1 << 24, '--kv-type', 'f32',
                         match=(r'needed \d{12,} bytes', r'available \d{8,} bytes'))
        self.refused('run', '-p', 'a', '-m', self.tiny, '-c', 1000000000, match=('1000000000', '16777216'))
        self.refused('run', '-p', 'a', '-m', self.tiny, '--device', 'cpu=100K', match=r'\d{5,}')

    @unittest.skipIf(SANITIZER, 'sanitizers need a large address space')
    def test_little_address_space(self):
        """Whatever allocation fails, in whichever order: text, or one line."""
        done, program = 0, os.path.getsize(harness.HALYARD)  # mapped whole: embedded kernels are most of it
        for megabytes in list(range(8, 48, 3)) + list(range(48, 240, 16)):
            limit = program + (megabytes << 20)

            def before():
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            result = self.call('run', '-m', self.tiny, '-p', 'a', '-n', 2, '-t', 2, preexec_fn=before)
            if result.code == 127 or b'error while loading shared' in result.err:
                continue  # not even the program was loaded
            if result.code == -signal.SIGSEGV and not result.err and megabytes < 12:
                continue  # the kernel could not map the program
            if result.code == 0:
                done += 1
            else:
                with self.subTest(megabytes=megabytes):
                    self.check_refused(result)
        self.assertGreater(done, 0)


class Output(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tinystories()

    COMMANDS = (('--help',), ('--version',), ('run', '--help'), ('devices',), ('devices', '--json'),
                ('synth', '--list'), ('run', '-m', 'MODEL', '-p', 'Tom', '-n', 4),
                ('run', '-m', 'MODEL', '-p', 'Tom', '-n', 4, '--json'), ('tokenize', '-m', 'MODEL', '-p', 'Tom'),
                ('tokenize', '-m', 'MODEL', '--decode', '-p', '403'), ('eval', '-m', 'MODEL', '-p', 'Tom and'),
                ('eval', '-m', 'MODEL', '-p', 'Tom and', '--json'), ('inspect', 'MODEL', '--tensors'),
                ('inspect', 'MODEL', '--json'), ('inspect', 'MODEL', '--graph'), ('inspect', 'MODEL', '--plan'),
                ('inspect', 'MODEL', '--plan', '--json'), ('inspect', 'MODEL', '--dot'),
                ('verify', '--op', 'rope', '--quick'), ('verify', '--op', 'rope', '--quick', '--json'))

    def everywhere(self, match, stdout, **options):
        for command in self.COMMANDS:
            words = [self.model if word == 'MODEL' else word for word in command]
            with self.subTest(words):
                self.refused(*words, match=match, stdout=stdout(), code=1, **options)

    def test_full_standard_output(self):
        with open('/dev/full', 'wb') as full:
            self.everywhere('no space left', lambda: full)

    def test_closed_standard_output(self):
        self.everywhere('standard output', lambda: subprocess.PIPE, preexec_fn=lambda: os.close(1))

    def test_bench_to_full(self):
        with open('/dev/full', 'wb') as full:
            for more in ((), ('--json',)):
                self.refused('bench', '-m', self.model, '-p', 4, '-n', 0, '-r', 1, *more, stdout=full,
                             match='no space left')

    def test_closed_pipe(self):
        read, write = os.pipe()
        os.close(read)
        self.refused('run', '-m', self.model, '-p', 'Tom', '-n', 4, stdout=write, match='broken pipe')
        os.close(write)

    def test_closed_streams_do_not_reach_files(self):
        """With standard streams closed, a file that is opened must not become one of them."""
        path = self.path('logits.npy')

        def close_all():
            for fd in range(3):
                os.close(fd)
        result = self.call('eval', '-m', self.model, '-p', 'Tom and', '--logits', path, preexec_fn=close_all)
        self.assertEqual((result.code, result.out, result.err), (1, b'', b''))
        self.ok('eval', '-m', self.model, '-p', 'Tom and', '--logits', self.path('want.npy'))
        with open(path, 'rb') as got, open(self.path('want.npy'), 'rb') as want:
            self.assertEqual(got.read(), want.read())
        os.remove(path)
        os.remove(self.path('want.npy'))

    def writers(self, target):
        return (('quantize', self.model, target, 'q8_0'), ('synth', 'tiny', '-o', target),
                ('eval', '-m', self.model, '-p', 'Tom and', '--logits', target),
                ('run', '-m', self.model, '-p', 'Tom', '-n', 2, '--profile', target))

    def test_unwritable_files(self):
        os.makedirs(self.path('folder'), exist_ok=True)
        for target, match in (('missing/out', 'no such file'), ('folder', 'directory'), ('/dev/full', 'no space left'),
                              ('', ''), ('/proc/out', ''), ('x' * 300, 'too long')):
            for command in self.writers(target):
                with self.subTest(command=command[0], target=target):
                    self.refused(*command, match=(os.path.basename(target), match))

    def test_read_only_folder(self):
        folder = self.path('locked')
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o555)
        os.chmod(self.folder, 0o755)
        nobody = {'user': 65534, 'extra_groups': []} if os.geteuid() == 0 else {}
        try:
            if self.call('inspect', self.model, **nobody).code != 0:
                self.skipTest('another user cannot run the executable or read the model')
        except PermissionError as error:
            self.skipTest(f'another user cannot run the executable: {error}')
        for command in self.writers(os.path.join(folder, 'out')):
            self.refused(*command, match=('out', 'permission'), **nobody)
            self.assertEqual(os.listdir(folder), [])

    def test_disk_fills_up(self):
        """A limit on the size of files stands in for a full disk; what was at the name stays."""
        path = self.write('keep.gguf', b'precious')

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        for command in self.writers(path)[:3]:
            options = {'preexec_fn': limit, 'restore_signals': False}  # SIGXFSZ stays ignored
            if command[0] == 'eval':
                command = command[:4] + ('red ball ' * 20,) + command[5:]
            with self.subTest(command[0]):
                self.refused(*command, match='too large', **options)
                with open(path, 'rb') as file:
                    self.assertEqual(file.read(), b'precious')


class Killed(CliTest):
    def test_quantize(self):
        """Killed at any moment, `quantize` leaves the old file or the whole new one."""
        source = self.synth('source.gguf', 'tiny', 'f32')
        out = self.path('out.gguf')
        whole_s = math.inf  # of the fastest run: after a slow one every kill would come too late
        for _ in range(3):
            started = time.monotonic()
            self.ok('quantize', source, out, 'iq4_xs', '-t', 1)
            whole_s = min(whole_s, time.monotonic() - started)
        with open(out, 'rb') as file:
            want = file.read()
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            killed = 0
            for i in range(12):
                os.remove(out)
                if i % 2:
                    self.write('out.gguf', b'old')
                process = subprocess.Popen([harness.HALYARD, 'quantize', source, out, 'iq4_xs', '-t', '1'],
                                           stderr=subprocess.PIPE)
                time.sleep(whole_s * (i + 0.5) / 12)
                process.send_signal(number)
                err = process.communicate(timeout=60)[1]
                content = None
                if os.path.exists(out):
                    with open(out, 'rb') as file:
                        content = file.read()
                self.assertIn(content, (want, b'old' if i % 2 else None), f'killed after {i} of 12')
                killed += process.returncode != 0
                if process.returncode == 1:
                    self.assertRegex(err, rb'^halyard quantize: [^\n]+\n$')
                self.assertEqual(os.path.exists(out), content is not None)
                if content is None:
                    self.write('out.gguf', b'')
            self.assertGreater(killed, 0)
            self.assertEqual(sorted(os.listdir(self.folder)), ['out.gguf', 'source.gguf'])


class FirstProcess(CliTest):
    """As PID 1, as which a container starts it, a process is only sent signals that it has handlers for."""

    @staticmethod
    def unshare():
        """Words that start a command as the first process of a PID namespace."""
        for more in ([], ['--user', '--map-root-user']):
            words = ['unshare'] + more + ['--pid', '--fork', '--kill-child']
            try:
                if subprocess.run(words + ['true'], capture_output=True, timeout=60).returncode == 0:
                    return words
            except FileNotFoundError:
                raise unittest.SkipTest('no unshare (util-linux)') from None
        raise unittest.SkipTest('no PID namespaces for this user')

    def first_child(self, parent):
        path = f'/proc/{parent.pid}/task/{parent.pid}/children'
        for _ in range(600):
            with open(path, encoding='ascii') as file:
                children = file.read().split()
            if children:
                return int(children[0])
            time.sleep(0.05)
        self.fail('unshare started nothing')

    def test_signals(self):
        words = self.unshare()
        model = self.synth('tiny.gguf')
        for number in (signal.SIGTERM, signal.SIGINT):
            # It waits for its standard input.
            process = subprocess.Popen(words + [harness.HALYARD, 'tokenize', '-m', model, '-f', '-'],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                child = self.first_child(process)
                for _ in range(600):  # until it has come as far as installing handlers
                    if process.poll() is not None:
                        break
                    os.kill(child, number)
                    time.sleep(0.05)
                self.assertEqual(process.poll(), 128 + number, f'{number!r} as PID 1')
            finally:
                process.kill()
                process.communicate()
