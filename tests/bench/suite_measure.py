"""`halyard bench`: rows, lists, verifying, traces, taking turns, predicting, replaying, ending early."""
import csv
import hashlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import time

import harness
from harness import CliTest, tinystories
from suite_formats import SOURCE, check_schema

LLAMA_BENCH = ('build_commit,build_number,cpu_info,gpu_info,backends,model_filename,model_type,model_size,'
               'model_n_params,n_batch,n_ubatch,n_threads,cpu_mask,cpu_strict,poll,type_k,type_v,n_gpu_layers,n_cpu_moe,'
               'split_mode,main_gpu,no_kv_offload,flash_attn,devices,tensor_split,tensor_buft_overrides,use_mmap,'
               'use_direct_io,embeddings,no_op_offload,no_host,n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,'
               'stddev_ts').split(',')
QUICK = ('--synth', 'tiny:q8_0', '--device', 'cpu', '-r', 2)


with open(os.path.join(SOURCE, 'docs', 'bench-schema.json'), encoding='utf-8') as file:
    SCHEMA = json.load(file)


class Bench(CliTest):
    def rows(self, *args, **options):
        rows = self.ok('bench', *args, '-o', 'json', **options).json
        self.assertEqual(check_schema(SCHEMA, rows, SCHEMA), [])
        return rows


class Rows(Bench):
    def test_numbers_agree(self):
        for row in self.rows(*QUICK, '-p', 32, '-n', 8, '-pg', '16,4', '-b', 2, '-d', 40):
            with self.subTest(row['test']):
                tokens = row['n_parallel'] * (row['n_prompt'] + row['n_gen'])
                self.assertEqual((row['status'], row['n_depth'], row['repetitions']), ('ok', 40, 2))
                self.assertEqual(len(row['samples_ts']), 2)
                for ns, ts in zip(row['samples_ns'], row['samples_ts']):
                    self.assertAlmostEqual(ns * 1e-9 * ts / tokens, 1, places=5)
                self.assertAlmostEqual(sum(row['samples_ts']) / 2 / row['avg_ts'], 1, places=5)
                self.assertAlmostEqual(row['cv'] * row['avg_ts'], row['stddev_ts'], places=3)
                per = row['bytes_per_token']
                self.assertAlmostEqual(per['weights'] + per['kv'] + per['activations'], per['total'], places=2)
                seconds = tokens / row['median_ts']
                self.assertAlmostEqual(row['gbps'] * 1e9 * seconds / (per['total'] * tokens), 1, places=5)
                limit = row['roofline']
                self.assertGreater(limit['read_gbps'], 0)
                self.assertIn(limit['bound'], ('read', 'f32', 'bf16', 'int8'))
                self.assertAlmostEqual(limit['percent'] / 100 * limit['limit_ts'] / row['median_ts'], 1, places=5)
                self.assertEqual(row['itl_ms'] is None, row['n_gen'] == 0)
                self.assertEqual(row['ttft_ms'] is None, row['n_prompt'] == 0)

    def test_tests(self):
        rows = self.rows(*QUICK, '-p', '4,8', '-n', '2-4*2', '-d', '0-8+8', '-b', '1,3', '--no-verify')
        names = [row['test'] for row in rows]
        want = []
        for depth in ('', ' @ d8'):
            want += [f'pp4{depth}', f'pp8{depth}', f'tg2{depth}', f'tg4{depth}', f'tg2{depth} x 3', f'tg4{depth} x 3']
        self.assertEqual(names, want)
        self.assertEqual([r['verify'] for r in rows], [None] * 12)
        names = [r['test'] for r in self.rows(*QUICK, '-pg', '4,2', '-pg', '8,2')]
        self.assertEqual(names, ['pp4+tg2', 'pp8+tg2'])

    def test_plan(self):
        """What decoding moves, by hand: 2 layers of 2 heads of 64, f16; and the weights once a step."""
        one, two = self.rows(*QUICK, '-p', 0, '-n', 1, '-d', 63, '-b', '1,2')
        self.assertEqual(one['bytes_per_token']['kv'], 2 * 2 * 2 * 64 * 2 * (64 + 1))
        self.assertEqual(two['bytes_per_token']['kv'], one['bytes_per_token']['kv'])
        self.assertAlmostEqual(two['bytes_per_token']['weights'] / one['bytes_per_token']['weights'], 0.5, places=2)
        q8, f32 = (self.rows('--synth', f'tiny:{t}', '--device', 'cpu', '-r', 1, '-p', 0, '-n', 1)[0] for t in
                   ('q8_0', 'f32'))
        self.assertAlmostEqual(f32['bytes_per_token']['weights'] / q8['bytes_per_token']['weights'], 32 / 8.5, places=1)
        self.assertAlmostEqual(f32['flops_per_token'] / q8['flops_per_token'], 1, places=3)

    def test_record(self):
        model = tinystories()
        row, = self.rows('-m', model, '--device', 'cpu', '-p', 8, '-n', 0, '-r', 1, '-t', 1, '--kv-type', 'f32',
                         '--price', '2.5')
        with open(model, 'rb') as file:
            self.assertEqual(row['model']['sha256'], hashlib.sha256(file.read()).hexdigest())
        self.assertEqual(row['model']['path'], model)
        self.assertEqual((row['n_threads'], row['type_k'], row['model']['layers']), (1, 'f32', 5))
        self.assertTrue(all(k.startswith('cpu.') for k in row['kernels']) and len(row['kernels']) > 4)
        self.assertAlmostEqual(row['cost']['usd_per_million_in'] * row['median_ts'] * 3600 / 1e6, 2.5, places=3)
        self.assertIsNone(row['cost']['usd_per_million_out'])
        self.assertIn('cpu', row['build']['backends'])
        self.assertEqual(row['argv'][:3], ['bench', '-m', model])
        energy = row['energy']
        self.assertEqual(energy['joules_per_token'] is None, energy['reason'] is not None, energy)
        self.assertGreater(row['memory']['resident_peak'], row['model_size'])
        plan = row['memory']['plan'][0]
        self.assertEqual(plan['weights'] + plan['state'] + plan['activations'] + plan['step'],
                         row['memory']['device_peak'])

    def test_formats(self):
        args = ('bench',) + QUICK + ('-p', 8, '-n', 4)
        table = csv.DictReader(io.StringIO(self.ok(*args, '-o', 'csv').text))
        rows = list(table)
        self.assertEqual(table.fieldnames[:len(LLAMA_BENCH)], LLAMA_BENCH)
        self.assertEqual([r['test'] for r in rows], ['pp8', 'tg4'])
        base = sqlite3.connect(':memory:')
        base.executescript(self.ok(*args, '-o', 'sql').text)
        self.assertEqual(base.execute('select n_prompt, n_gen from llama_bench').fetchall(), [(8, 0), (0, 4)])
        lines = self.ok(*args, '-o', 'jsonl').text.splitlines()
        self.assertEqual([json.loads(line)['test'] for line in lines], ['pp8', 'tg4'])
        self.assertIn('<!doctype html>', self.ok(*args, '-o', 'html').text)
        text = self.ok(*args).text
        table = [line for line in text.splitlines() if line.startswith('|')]
        self.assertEqual(len({line.count('|') for line in table}), 1, text)
        self.assertRegex(text, r'\| +pp8 \|.*\n.*\| +tg4 \|')
        self.assertRegex(text, r'(?m)^build: \S+ \(\d+\)$')
        both = self.call(*args, '-o', 'json', '-oe', 'csv')
        self.assertEqual((both.code, len(both.json), both.err.count(b'\n')), (0, 2, 3), both)

    def test_several(self):
        rows = self.rows('--synth', 'tiny:q8_0', '--synth', 'tiny-moe:f16', '--device', 'cpu', '--device', 'ref', '-p', 4,
                         '-n', 0, '-r', 1, '-t', '1,2', '--kv-type', 'f16,q8_0')
        self.assertEqual(len(rows), 16)
        self.assertEqual(len({(r['model']['synth'], r['device'], r['options']['threads'], r['type_k']) for r in rows}), 16)
        self.assertEqual({r['status'] for r in rows}, {'ok'})
        for row in rows:
            if row['device'] == 'ref:0':
                self.assertIsNone(row['roofline'])
                self.assertTrue(row['roofline_reason'])

    def test_columns(self):
        """What varies stands in the table."""
        text = self.ok('bench', *QUICK, '-p', 4, '-n', 0, '-r', 1, '-t', '1,2', '-ub', '4,8', '--kv-type', 'f16,f32',
                       '--numerics', 'invariant,fast', '--no-verify').text
        head, _, *rows = [[cell.strip() for cell in line.split('|')] for line in text.splitlines() if line.startswith('|')]
        for name, values in (('n_batch', '48'), ('threads', '12'), ('type_k', ('f16', 'f32')),
                             ('numerics', ('invariant', 'fast'))):
            self.assertEqual({row[head.index(name)] for row in rows}, set(values), name)

    def test_replay(self):
        before = self.ok('bench', *QUICK, '-p', 8, '-n', 4, '-o', 'json')
        path = self.write('before.json', before.out)
        after = self.ok('bench', 'replay', path).json
        same = ('test', 'device', 'model_filename', 'options', 'argv', 'kernels')
        self.assertEqual([[r[k] for k in same] for r in after], [[r[k] for k in same] for r in before.json])
        result = self.call('bench', 'compare', path, self.write('after.json', json.dumps(after)))
        self.assertRegex(result.text, r'pp8')

    def test_predict(self):
        rows = self.rows('--predict', 'llama-3-70b:q4_0', '--device', 'cpu', '-p', 0, '-n', 4, timeout=300)
        row, = rows
        self.assertEqual((row['status'], row['avg_ts']), ('predicted', None))
        self.assertGreater(row['model_size'], 35 << 30)
        self.assertGreater(row['memory']['device_peak'], row['model_size'])
        self.assertGreater(row['prediction']['ts'], 0)
        self.assertLess(row['prediction']['ts'], 2 * row['roofline']['limit_ts'])
        self.refused('bench', '--predict', 'huge:q4_0', match=('huge', 'llama-3-70b'))


class Verified(Bench):
    def test_against_others(self):
        cpu, ref = self.rows('--synth', 'tiny:q4_k', '--device', 'cpu', '--device', 'ref', '-p', 40, '-n', 0, '-r', 1)
        self.assertEqual((cpu['verify']['against'], ref['verify']['against']), ('ref', 'cpu'))
        for row in (cpu, ref):
            check = row['verify']
            self.assertEqual((check['passed'], check['tokens']), (True, 32))
            self.assertTrue(0 < check['kl_mean'] <= check['kl_max'] < check['kl_limit'], check)
            self.assertGreaterEqual(check['top1'], check['top1_limit'])


class Serve(Bench):
    TRACE = 'TIMESTAMP,ContextTokens,GeneratedTokens\n' \
            '2023-11-16 18:15:46.0,20,5\n2023-11-16 18:15:46.05,300,3\n2023-11-16 18:15:46.1,7,9\n'

    def test_traces(self):
        plain = '# arrival prompt output\n0,20,5\n0.05,300,3\n0.1,7,9\n'
        lines = ''.join(f'{{"arrival_s": {a}, "prompt_tokens": {p}, "output_tokens": {g}}}\n' for a, p, g in
                        ((0.1, 7, 9), (0, 20, 5), (0.05, 300, 3)))
        for text in (self.TRACE, plain, lines):
            row, = self.rows(*QUICK, '--trace', self.write('trace', text), '-b', 2)
            served = row['serve']
            self.assertEqual((served['requests'], served['finished']), (6, 6))
            self.assertEqual((served['tokens_in'], served['tokens_out']), (2 * 327, 2 * 17))
            self.assertEqual((row['ttft_ms']['count'], row['itl_ms']['count']), (6, 28))
            self.assertGreaterEqual(served['e2e_ms']['p99'], row['ttft_ms']['p50'])
            self.assertGreater(row['samples_ns'][0], 100e6)  # the last request arrives after 0.1 s

    def test_built_in(self):
        row, = self.rows('--synth', 'tiny:q8_0', '--device', 'cpu', '--trace', 'chat', '--rate', 200, '--no-verify')
        self.assertEqual((row['kind'], row['repetitions'], row['n_parallel']), ('serve', 1, 16))
        self.assertEqual(row['serve']['requests'], row['serve']['finished'])

    def test_bad_traces(self):
        for text, match in (('', 'no request'), ('1,2\n', ':1: not a request'), ('0,1,1\nx,y,z\n', ':2: not a'),
                            ('a,b,c\n', ':1:'), ('0,0,1\n', ':1:'), ('{"arrival_s": 0}\n', ':1:'), ('nan,1,1\n', ':1:'),
                            ('0,99999999999,1\n', ':1:')):
            with self.subTest(text):
                self.refused('bench', *QUICK, '--trace', self.write('trace', text), match=match)
        os.remove(self.path('trace'))
        self.refused('bench', *QUICK, '--trace', 'nowhere', match=('nowhere', 'no such file'))


class Turns(Bench):
    def test_devices(self):
        result = self.ok('bench', *QUICK, '-p', 8, '-n', 4, '--vs', 'ref', '-r', 3)
        self.assertRegex(result.text, r'\| +pp8 \|.*\n.*\| +pp8 \|')
        self.assertRegex(result.text, r'B / A')
        done = self.call('bench', *QUICK, '-p', 8, '-n', 0, '--vs', 'ref', '-r', 3, '-o', 'json')
        self.assertEqual(done.code, 0, done)
        a, b = done.json
        self.assertEqual((a['device'], b['device']), ('cpu:0', 'ref:0'))
        self.assertEqual(a['interleave']['id'], b['interleave']['id'])
        self.assertEqual((a['interleave']['index'], b['interleave']['index']), (0, 1))
        self.assertEqual((len(a['samples_ts']), len(b['samples_ts'])), (3, 3))

    def test_binaries(self):
        done = self.call('bench', *QUICK, '-p', 8, '-n', 4, '--vs-binary', harness.HALYARD, '-r', 3, '-o', 'json')
        self.assertEqual(done.code, 0, done)
        self.assertEqual([r['test'] for r in done.json], ['pp8', 'tg4', 'pp8', 'tg4'])
        for row in done.json:
            self.assertEqual((row['repetitions'], len(row['samples_ns'])), (3, 3))
            self.assertAlmostEqual(sum(row['samples_ts']) / 3 / row['avg_ts'], 1, places=5)
            limit = row['roofline']
            self.assertAlmostEqual(limit['percent'] / 100 * limit['limit_ts'] / row['median_ts'], 1, places=5)
            self.assertAlmostEqual(row['gbps'] * 1e9 / row['bytes_per_token']['total'] / row['median_ts'], 1, places=5)
            self.assertEqual(row['cv'] > 0.03, 'noisy' in row['flags'], row['flags'])
            self.assertEqual(len(set(row['flags'])), len(row['flags']))
        self.assertRegex(done.err.decode(), 'B / A')

    def test_noise_of_all_samples(self):
        row, = self.rows(*QUICK, '-p', 8, '-n', 0)
        for speeds, noisy in (((100, 105, 102.5), False), ((100, 101, 120), True)):
            for i, speed in enumerate(speeds):
                row.update(repetitions=1, samples_ts=[speed], samples_ns=[round(8e9 / speed)], flags=['drift'])
                self.write(f'row{i}', json.dumps([row]))
            script = self.write('prints', '#!/bin/sh\ncat row0\nmv row1 row0\nmv row2 row1\n')
            os.chmod(script, 0o755)
            done = self.call('bench', *QUICK, '-p', 8, '-n', 0, '--vs-binary', script, '-r', 3, '-o', 'json')
            self.assertEqual(done.code, 0, done)
            self.assertEqual(done.json[1]['samples_ts'], list(speeds))
            self.assertEqual(done.json[1]['flags'], ['drift', 'noisy'] if noisy else ['drift'])

    def test_odd_flags(self):
        row, = self.rows(*QUICK, '-p', 8, '-n', 0)
        row['flags'] = [1, None, 'drift']
        self.write('row', json.dumps([row]))
        script = self.write('odd', '#!/bin/sh\ncat row\n')
        os.chmod(script, 0o755)
        done = self.call('bench', *QUICK, '-p', 8, '-n', 0, '--vs-binary', script, '-r', 3, '-o', 'json')
        self.assertEqual((done.code, len(done.json[1]['samples_ts'])), (0, 6), done)

    def test_bad_binaries(self):
        self.refused('bench', *QUICK, '--vs-binary', 'nowhere', match=('nowhere', 'no such file'))
        self.refused('bench', *QUICK, '--vs-binary', '/bin/true', match=('/bin/true', 'no rows'))
        odd = self.write('odd', '#!/bin/sh\necho "[{}]"\n')
        os.chmod(self.path('odd'), 0o755)
        self.refused('bench', *QUICK, '-p', 8, '-n', 0, '--vs-binary', odd, match=('odd', 'no rows'))
        self.refused('bench', *QUICK, '--vs', 'ref', '--vs-binary', 'x', match='one of', code=2)


class Ends(Bench):
    def test_time_limit(self):
        rows = self.rows(*QUICK, '-p', 8, '-n', '4-60+4', '-r', 20, '-d', '0-512+64', '--time-limit', 1)
        states = [row['status'] for row in rows]
        self.assertEqual(states[0], 'ok')
        self.assertEqual(states[-1], 'skipped')
        self.assertIn('time limit', rows[-1]['reason'])
        self.assertEqual(len(rows), 9 * 16)

    def interrupt(self, number, *more):
        """Sends a signal once the first row is there."""
        words = [harness.HALYARD, 'bench', '--synth', 'tiny:q8_0', '--device', 'cpu', '-p', '16', '-n', '4-256+4', '-d',
                 '0-1024+64', '-r', '10', '--no-verify', *more]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder) as child:
            first = child.stdout.readline() + child.stdout.readline() + child.stdout.readline()
            time.sleep(0.2)
            child.send_signal(number)
            rest, err = child.communicate(timeout=60)
        return first + rest, err, child.returncode

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            out, err, code = self.interrupt(number)
            self.assertEqual((code, err), (128 + number, b''))
            self.assertRegex(out.decode(), r'(?s)pp16.*build: ')
        out, _, _ = self.interrupt(signal.SIGINT, '-o', 'jsonl')
        for line in out.decode().splitlines():
            self.assertEqual(json.loads(line)['status'], 'ok')
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith('.gguf')], [])

    def test_what_fails_is_one_line(self):
        result = self.call('bench', '--synth', 'tiny:q8_0', '--device', 'cpu', '--device', 'abacus', '-p', 4, '-n', 2, '-r',
                           1, '-o', 'json')
        self.check_refused(result, 'abacus', 'pp4', code=1)
        self.assertEqual([r['status'] for r in result.json], ['ok', 'ok', 'error', 'skipped'])
        result = self.call('bench', '-m', 'nowhere.gguf', '-m', self.synth('there.gguf'), '--device', 'cpu', '-p', 4, '-n', 0,
                           '-r', 1, '-o', 'json')
        self.check_refused(result, 'nowhere.gguf', code=1)
        self.assertEqual([r['status'] for r in result.json], ['ok'])
        result = self.call('bench', *QUICK, '-d', 1 << 23, '-b', 64, '-p', 0, '-n', 1)
        self.assertEqual(result.code, 1, result)
        warning, line = result.err.decode().splitlines()
        self.assertRegex(warning, 'trained for 2048')
        self.assertRegex(line, '^halyard bench: cpu:0 tg1 .* needed .* bytes')

    def test_lists(self):
        for words in ('-p 1,', '-p ,1', '-p x', '-p 4-1', '-p 1-4+0', '-p 0-8*2', '-p 1-100000', '-b 0', '-b 5000', '-pg 4',
                      '-pg 4,0', '-t 1,x', '--kv-type f16,f8', '--kv-type f16,f16', '--numerics slow', '-o xml', '-oe xml',
                      '--rate -1', '--price -2', '-n 1-'):
            with self.subTest(words):
                self.refused('bench', *QUICK, *words.split(), match=words.split()[0], code=2)
