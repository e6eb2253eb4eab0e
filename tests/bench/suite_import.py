"""`halyard bench import`: llama-bench's results beside ours, and everything else refused in one line."""
import json
import os
import statistics

from harness import CliTest

from rows import prompt_row, row

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLE = os.path.join(HERE, 'llama-bench.json')


def sample():
    with open(SAMPLE, encoding='utf-8') as file:
        return json.load(file)


class Import(CliTest):
    def imported(self, rows, name='llama.json'):
        text = rows if isinstance(rows, (str, bytes)) else json.dumps(rows)
        return self.ok('bench', 'import', self.write(name, text), '-o', 'json').json


class LlamaBench(Import):
    def test_json(self):
        for given, got in zip(sample(), self.imported(sample()), strict=True):
            for name, value in given.items():
                self.assertEqual(got[name], value, name)
            self.assertEqual((got['schema'], got['engine'], got['status']),
                             ('halyard-bench/1', 'llama.cpp', 'imported'))
            self.assertEqual((got['repetitions'], got['n_parallel'], got['flags']), (5, 1, []))
            self.assertAlmostEqual(got['median_ts'], statistics.median(given['samples_ts']), places=6)
            self.assertAlmostEqual(got['cv'], given['stddev_ts'] / given['avg_ts'], places=9)
            tokens = given['n_prompt'] + given['n_gen']
            self.assertAlmostEqual(got['ms_per_token'], statistics.median(given['samples_ns']) / tokens / 1e6, places=6)
            self.assertEqual(got['model']['name'], 'llama-3.2-1b-Q4_0')
            self.assertEqual((got['options']['kv_type'], got['options']['threads']), ('f16', 2))
            self.assertEqual(got['device_info']['name'], 'AMD EPYC 9B14')
            for name in ('ttft_ms', 'itl_ms', 'roofline', 'verify', 'gbps', 'energy', 'machine', 'interleave'):
                self.assertIsNone(got[name], name)
        self.assertEqual([(r['test'], r['kind']) for r in self.imported(sample())],
                         [('pp512', 'pp'), ('tg128', 'tg'), ('pp512+tg128', 'pg'), ('tg128 @ d4096', 'tg')])

    def test_other_spellings(self):
        """JSON lines and CSV of the same run give the same rows, but for what CSV leaves out."""
        lines = self.imported('\n'.join(json.dumps(r) for r in sample()) + '\n')
        self.assertEqual(lines, self.imported(sample()))
        with open(os.path.join(HERE, 'llama-bench.csv'), encoding='utf-8') as file:
            cells = self.imported(file.read(), 'llama.csv')
        unknown = {'samples_ns', 'samples_ts', 'repetitions', 'median_ts'}
        for want, got in zip(lines, cells, strict=True):
            for name, value in want.items():
                if name in unknown:
                    self.assertIsNone(got[name], name)
                elif name == 'ms_per_token':  # of the mean instead of the median
                    self.assertAlmostEqual(got[name], value, delta=value * 0.02)
                elif name not in ('no_op_offload', 'gpu_info'):
                    self.assertEqual(got[name], value, name)

    def test_same_table(self):
        ours = self.write('ours.json', json.dumps([prompt_row(), row()]))
        text = self.ok('bench', 'import', SAMPLE, ours).text
        lines = [line.split('|') for line in text.split('\n') if line.startswith('|')]
        heading = [cell.strip() for cell in lines[0]]
        engine, test, speed, check = [heading.index(name) for name in ('engine', 'test', 't/s', 'check')]
        got = [tuple(cells[i].strip() for i in (engine, test, speed, check)) for cells in lines[2:]]
        self.assertEqual(len(got), 6)
        self.assertEqual(got[1], ('llama.cpp', 'tg128', '61.73 ± 0.36', '-'))
        self.assertEqual(got[5], ('halyard', 'tg128', '76.00 ± 0.40', 'ok'))
        self.assertEqual(text.split('\n')[-3:], ['build: 4ab9f02c (6312) llama.cpp', 'build: 9315f7b (123)', ''])

    def test_versions(self):
        """Fields that versions of llama-bench write differently, have not yet, or have in addition."""
        made = sample()[0]
        for name in ('n_cpu_moe', 'devices', 'no_host', 'poll'):
            del made[name]
        made.update(flash_attn=True, no_op_offload=False, repack=True, fit_target=0)
        got = self.imported([made])[0]
        self.assertEqual((got['flash_attn'], got['devices'], got['poll']), (True, None, None))

    def test_gpu(self):
        made = dict(sample()[1], backends='CUDA', gpu_info='NVIDIA H100 80GB HBM3', n_gpu_layers=-1)
        self.assertEqual(self.imported([made])[0]['device_info']['name'], 'NVIDIA H100 80GB HBM3')
        made['n_gpu_layers'] = 0
        self.assertEqual(self.imported([made])[0]['device_info']['name'], 'AMD EPYC 9B14')

    def test_claims(self):
        """What a foreign file says under names of ours is not believed: it was not measured here."""
        made = dict(sample()[0], verify={'passed': True}, roofline={'percent': 250}, engine='halyard', status='ok',
                    gbps=5000, kernels=['cpu.matmul'])
        got = self.imported([made])[0]
        self.assertEqual([got[name] for name in ('verify', 'roofline', 'engine', 'status', 'gbps', 'kernels')],
                         [None, None, 'llama.cpp', 'imported', None, None])


class Refused(Import):
    def no(self, text, *match):
        with self.subTest(text[:80]):
            self.refused('bench', 'import', self.write('bad', text), match=('bad',) + match, code=1)

    def test_files(self):
        self.refused('bench', 'import', '/no/such', match=('/no/such', 'no such file'), code=1)
        self.refused('bench', 'import', self.folder, match='directory', code=1)
        self.refused('bench', 'import', match='no file', code=2)
        self.refused('bench', 'import', SAMPLE, '-o', 'xml', match=('xml', 'md, json, jsonl, csv, sql, html'), code=2)
        self.refused('bench', 'import', SAMPLE, self.write('bad', '{'), match='bad', code=1)
        self.refused('bench', 'import', '-', match='standard input: empty', code=1)

    def test_no_json(self):
        """The place of the mistake is named."""
        self.no('', 'empty')
        self.no(' \n\t ', 'empty')
        self.no('[]', 'no rows')
        self.no('[\n  {"a": 1},\n  {"a" 2}\n]', 'line 3 column 8')
        self.no(json.dumps(sample())[:-200], r'line 1 column \d+')
        self.no('[{"a": 1}, {"a": 2}', 'line 1 column 19')
        self.no(json.dumps(sample()[0]) + '\n' + json.dumps(sample()[1])[:-1], 'line 2 column')
        self.no('{"a": 1, "a": 2}', 'duplicate object key')
        self.no('[{"avg_ts": NaN}]', 'line 1')
        self.no('[{"avg_ts": 1e999}]', 'overflow')
        self.no('[{"n_gen": 99999999999999999999}]', 'too big integer')
        self.no(b'[{"\xff": 1}]', 'line 1')
        self.no('[{"a": "\\u0000"}]', 'line 1')
        self.no('[' * 100000, 'depth')
        self.no('[1]', 'element 1', 'no object')
        self.no('[\n{"a": 1}, null]', 'element 2', 'no object')
        self.no('[' + json.dumps(sample()[0]) + ']x', 'line 1')

    def test_no_rows(self):
        self.no('{}', 'row 1', 'neither')
        self.no('{"error": "rate limited"}', 'row 1', 'neither')
        self.no(json.dumps([sample()[0], {'a': 1}]), 'row 2')
        for change, *match in (({'avg_ts': '212'}, 'avg_ts is not a number'), ({'avg_ts': 0}, 'avg_ts'),
                               ({'avg_ts': -1}, 'avg_ts'), ({'avg_ts': None}, 'avg_ts'),
                               ({'n_prompt': 1.5}, 'n_prompt is not a whole number'),
                               ({'n_prompt': -512}, 'n_prompt'), ({'n_prompt': 0}, 'make no test'),
                               ({'model_type': 7}, 'model_type is not a text'), ({'model_type': None}, 'model_type'),
                               ({'samples_ts': {}}, 'samples_ts is not an array of numbers'),
                               ({'samples_ns': [1, 'x']}, 'samples_ns'), ({'use_mmap': 'yes'}, 'use_mmap'),
                               ({'schema': 'halyard-bench/2'}, 'halyard-bench/2', 'reads halyard-bench/1'),
                               ({'schema': 1}, 'schema')):
            self.no(json.dumps([dict(sample()[0], **change)]), 'row 1', *match)
        for change, *match in (({'roofline': 5}, 'roofline is no object'), ({'flags': 'noisy'}, 'flags'),
                               ({'itl_ms__p50': []}, 'itl_ms.p50 is not a number'),
                               ({'kernels': [1]}, 'kernels is not an array of texts')):
            self.no(json.dumps(row(**change)), 'row 1', *match)

    def test_csv(self):
        with open(os.path.join(HERE, 'llama-bench.csv'), encoding='utf-8') as file:
            head, first, *_ = file.read().split('\n')
        self.no(head, 'no rows')
        self.no(head + '\n' + first + ',"1"', 'line 2 has 40 columns, the header 39')
        self.no(head + '\n\n' + first.replace('"512"', '"many"', 1), "line 3: n_batch|n_ubatch '?many")
        self.no(head + '\n' + first[:-1], 'line 2: a quote is never closed')
        self.no(head + '\n' + first.replace('"2048"', '"20"48'), 'text after a closing quote')
        self.no(head + '\n' + first.replace('212.737364', 'inf'), "avg_ts 'inf' is not a number")
        self.no(head + '\n' + first.replace('2048', '9' * 30), 'n_batch')
        self.no('a,b\n1,2\n', 'avg_ts')
        self.no('| model | t/s |\n', 'neither JSON nor CSV')
        self.no(b'\x7fELF\0\0\0', 'neither JSON nor CSV')
        self.no(',' * 5000, 'columns')
        crlf = self.write('crlf.csv', '\ufeff' + head + '\r\n' + first + '\r\n')
        self.assertEqual(self.ok('bench', 'import', crlf, '-o', 'json').json[0]['test'], 'pp512')

    def test_too_much(self):
        one = json.dumps(sample()[0])
        self.no('[' + ','.join([one] * 2001) + ']', 'more than 2000 rows')
