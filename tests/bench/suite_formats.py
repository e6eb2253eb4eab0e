"""What rows look like in each format. `bench import` of our own rows prints them as `bench` itself does."""
import csv
import io
import json
import os
import re
import sqlite3

from harness import CliTest

from rows import PLAIN, percentiles, prompt_row, row

SOURCE = os.environ['HALYARD_SOURCE']
LLAMA_COLUMNS = (  # of llama-bench's CSV, in its order
    'build_commit,build_number,cpu_info,gpu_info,backends,model_filename,model_type,model_size,model_n_params,n_batch,'
    'n_ubatch,n_threads,cpu_mask,cpu_strict,poll,type_k,type_v,n_gpu_layers,n_cpu_moe,split_mode,main_gpu,'
    'no_kv_offload,flash_attn,devices,tensor_split,tensor_buft_overrides,use_mmap,use_direct_io,embeddings,'
    'no_op_offload,no_host,n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts').split(',')
NASTY = 'a "quoted", it\'s; back\\slash | pipe\nsecond line\ttab \u00b1'
# What tells how fast a row was.
SPEED = ('avg_ns stddev_ns avg_ts stddev_ts samples_ns samples_ts median_ts cv ms_per_token samples_itl_ms gbps '
         'gflops').split()


class Formats(CliTest):
    def convert(self, rows, form, *more):
        return self.ok('bench', 'import', self.write('rows.json', json.dumps(rows)), '-o', form, *more).text

    def read_back(self, rows, form):
        """Rows written in a format and read again as JSON."""
        self.write('back', self.convert(rows, form))
        return self.ok('bench', 'import', self.path('back'), '-o', 'json').json


class Json(Formats):
    def test_unchanged(self):
        rows = [prompt_row(), row(flags=['noisy']), row(reason=None, interleave={'id': 'x', 'index': 1})]
        for made in rows:
            made.setdefault('interleave', None)
        self.assertEqual(json.loads(self.convert(rows, 'json')), rows)
        lines = self.convert(rows, 'jsonl').splitlines()
        self.assertEqual([json.loads(line) for line in lines], rows)
        for form in ('json', 'jsonl'):
            self.assertEqual(self.read_back(rows, form), rows)

    def test_order(self):
        """A reader that takes columns by position finds llama-bench's first."""
        first = list(json.loads(self.convert([row()], 'json'))[0])
        self.assertEqual(first[:41], LLAMA_COLUMNS + ['samples_ns', 'samples_ts'])

    def test_several_files(self):
        a, b = self.write('a.json', json.dumps([row()])), self.write('b.jsonl', json.dumps(prompt_row()) + '\n')
        tests = [r['test'] for r in self.ok('bench', 'import', a, b, '-o', 'json').json]
        self.assertEqual(tests, ['tg128', 'pp512'])
        joined = self.write('both', open(a).read() + open(b).read())
        tests = [r['test'] for r in self.ok('bench', 'import', joined, '-o', 'json').json]
        self.assertEqual(tests, ['tg128', 'pp512'])
        with open(joined, 'rb') as file:
            self.assertEqual(len(self.ok('bench', 'import', '-', '-o', 'json', stdin=file.read()).json), 2)

    def test_older_rows(self):
        """Fields that a row of an earlier version lacks are null; those of a later one stay."""
        made = row(later={'added': 1})
        del made['prediction'], made['roofline']['write_gbps']
        back = json.loads(self.convert([made], 'json'))[0]
        self.assertIsNone(back['prediction'])
        self.assertIsNone(back['roofline']['write_gbps'])
        self.assertEqual(back['later'], {'added': 1})


class Tables(Formats):
    """CSV and SQL: the same columns."""

    def test_csv_is_llama_benchs(self):
        rows = [prompt_row(), row(cpu_strict=True)]
        text = self.convert(rows, 'csv')
        self.assertEqual(text.split('\n')[0].split(',')[:39], LLAMA_COLUMNS)
        cells = list(csv.DictReader(io.StringIO(text)))
        for made, cell in zip(rows, cells, strict=True):
            for name in LLAMA_COLUMNS:
                value = made[name]
                if isinstance(value, str):
                    self.assertEqual(cell[name], value, name)
                elif isinstance(value, bool):  # as llama-bench writes them
                    self.assertEqual(cell[name], str(int(value)), name)
                else:
                    self.assertAlmostEqual(float(cell[name]), value, delta=abs(value) * 1e-9, msg=name)
        for line in text.splitlines()[1:]:  # every value in quotes
            self.assertRegex(line, r'^"([^"]|"")*"(,"([^"]|"")*")*$')

    def test_csv_flattens(self):
        made = row(kernels=['k.one', 'k.two'], ttft_ms=percentiles(1.5, 2.5, 3.5, 5), verify=None)
        cell = next(csv.DictReader(io.StringIO(self.convert([made], 'csv'))))
        for name, value in (('roofline_percent', '86.8'), ('itl_ms_p99', '15.25'), ('ttft_ms_p90', '2.5'),
                            ('kernels', 'k.one;k.two'), ('roofline_f16_gflops', ''), ('verify_passed', ''),
                            ('model_quantization', 'Q4_0'), ('model_type', 'llama 1B Q4_0'),
                            ('device_info_software', '0'), ('options_warmup', '1')):
            self.assertEqual(cell[name], value, name)
        self.assertEqual(json.loads(cell['machine']), made['machine'])
        self.assertEqual(json.loads(cell['argv']), made['argv'])
        self.assertNotIn('samples_ts', cell)

    def test_csv_escapes_and_reads_back(self):
        made = row(model_filename=NASTY, reason=NASTY, status='imported', kernels=['k,1', 'k"2"'])
        text = self.convert([made, row()], 'csv')
        cells = list(csv.DictReader(io.StringIO(text, newline='')))
        self.assertEqual((cells[0]['model_filename'], cells[0]['reason']), (NASTY, NASTY))
        back = self.read_back([made, row()], 'csv')
        for want, got in zip((made, row()), back, strict=True):
            want = dict(want, interleave=None, samples_ns=None, samples_ts=None, samples_itl_ms=None, gpu_info=None,
                        build=dict(want['build'], commit=None))  # what no cell holds
            self.maxDiff = None
            for name, value in want.items():
                if isinstance(value, float):
                    self.assertAlmostEqual(got[name], value, delta=abs(value) * 1e-8, msg=name)
                else:
                    self.assertEqual(got[name], value if name != 'no_op_offload' else False, name)

    def test_sql(self):
        rows = [prompt_row(), row(reason=NASTY, status='skipped'), row(kernels=['a', 'b'])]
        text = self.convert(rows, 'sql')
        base = sqlite3.connect(':memory:')
        base.row_factory = sqlite3.Row
        base.executescript(text)
        base.executescript(text)  # two runs into one table
        got = base.execute('SELECT * FROM llama_bench').fetchall()
        self.assertEqual(len(got), 6)
        self.assertEqual(got[0].keys()[:39], LLAMA_COLUMNS)
        self.assertEqual(got[0].keys(), self.convert(rows, 'csv').split('\n')[0].split(','))
        self.assertAlmostEqual(got[0]['avg_ts'], rows[0]['avg_ts'], places=6)
        self.assertEqual((got[1]['reason'], got[1]['avg_ts'], got[2]['kernels']), (NASTY, None, 'a;b'))
        self.assertEqual([type(got[0][name]) for name in ('model_size', 'avg_ts', 'flash_attn', 'build_commit')],
                         [int, float, int, str])
        best = base.execute("SELECT max(roofline_percent) FROM llama_bench WHERE n_gen > 0 AND status = 'ok'")
        self.assertEqual(best.fetchone()[0], 86.8)


def table(text):
    """The cells of a Markdown table, by heading."""
    lines = [line for line in text.split('\n') if line.startswith('|')]
    split = [[cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in lines]
    return [dict(zip(split[0], cells, strict=True)) for cells in split[2:]]


class Markdown(Formats):
    def test_llama_benchs_columns(self):
        text = self.convert([prompt_row(), row()], 'md')
        first = table(text)[0]
        self.assertEqual(list(first)[:7], ['model', 'size', 'params', 'backend', 'threads', 'test', 't/s'])
        self.assertEqual(list(first.values())[:7],
                         ['llama 1B Q4_0', '663.14 MiB', '1.24 B', 'CPU', '2', 'pp512', '291.50 ± 2.96'])
        self.assertLessEqual(len(first) - 7, 12)
        self.assertTrue(text.endswith('\n\nbuild: 9315f7b (123)\n'))
        rule = text.split('\n')[1]
        self.assertRegex(rule, r'^\|( -+:? \|)+$')
        self.assertEqual(len({len(line) for line in text.split('\n') if line.startswith('|')}), 1, 'aligned')

    def test_ours(self):
        pp, tg = table(self.convert([prompt_row(energy__joules_per_token=0.0625), row()], 'md'))
        self.assertEqual([pp[name] for name in ('TTFT p50 ms', 'ITL p50/p99 ms', 'GFLOP/s', '% of roofline',
                                                'J/token', 'peak MiB', 'check')],
                         ['1755.5', '-', '560.2', '62.0 (int8)', '0.062', '775', 'ok'])
        self.assertEqual([tg[name] for name in ('ms/token', 'TTFT p50 ms', 'ITL p50/p99 ms', 'GB/s', 'J/token')],
                         ['13.16', '-', '13.20/15.25', '52.9', '-'])
        gpu = row(backends='CUDA', n_gpu_layers=99, model_size=13 << 30, model_n_params=890e6.__int__())
        cells = table(self.convert([gpu], 'md'))[0]
        self.assertEqual([cells[name] for name in ('ngl', 'size', 'params')], ['99', '13.00 GiB', '890.00 M'])
        self.assertNotIn('threads', cells)

    def test_price(self):
        cost = {'price_per_hour': 2.49, 'usd_per_million_in': 2.3725, 'usd_per_million_out': None}
        self.assertEqual(table(self.convert([prompt_row(cost=cost)], 'md'))[0]['USD/Mtoken'], '2.373 in')
        self.assertNotIn('USD/Mtoken', table(self.convert([prompt_row()], 'md'))[0])

    def test_flags(self):
        text = self.convert([row(flags=['noisy', 'throttled']), row()], 'md')
        self.assertEqual([cells['check'] for cells in table(text)], ['ok *^', 'ok'])
        self.assertRegex(text, r'\n\n\* noisy: [^\n]*3 %; \^ throttled: [^\n]*\n\nbuild: ')
        self.assertNotIn('busy', text)

    def test_varying_columns(self):
        rows = [row(n_batch=64, options__numerics='fast'), row(n_batch=512)]
        cells = table(self.convert(rows, 'md'))
        self.assertEqual([(c['n_batch'], c['numerics']) for c in cells], [('64', 'fast'), ('512', 'invariant')])
        self.assertNotIn('type_k', cells[0])

    def test_text_stays_in_its_cell(self):
        cells = table(self.convert([row(model_type='a|b\nc')], 'md'))
        self.assertEqual((len(cells), cells[0]['model']), (1, 'a\\|b c'))


class Failed(Formats):
    """The speed of what computes nonsense is nowhere."""

    def test_no_speed(self):
        reason = 'KL divergence 0.4 is over 0.01'
        for status in ('FAILED', 'error', 'skipped'):
            made = row((1234.5, 1235.5, 1236.5), status=status, reason=reason, verify__passed=False,
                       itl_ms=percentiles(4321.5, 4321.5, 4321.5, 3))
            for form in ('md', 'json', 'jsonl', 'csv', 'sql', 'html'):
                text = self.convert([made], form)
                for digits in ('1235.5', '1235.50', '4321.5', '1234.5'):
                    self.assertNotIn(digits, text, (status, form))
                if form != 'html':
                    self.assertIn(reason, text, (status, form))
            cells = table(self.convert([made], 'md'))[0]
            self.assertEqual((cells['t/s'], cells['check'], cells['ms/token']), (f'{status}: {reason}', status, '-'))
            back = json.loads(self.convert([made], 'json'))[0]
            self.assertEqual([back[name] for name in SPEED], [None] * len(SPEED))
            self.assertIsNone(back['roofline']['percent'])
            self.assertEqual(back['roofline']['read_gbps'], PLAIN['roofline']['read_gbps'])


def check_schema(schema, value, root, path='rows'):
    """Mistakes of a value: what docs/bench-schema.json uses of JSON Schema, and no more."""
    if '$ref' in schema:
        schema = root['$defs'][schema['$ref'].rsplit('/', 1)[1]]
    kinds = {'object': dict, 'array': list, 'string': str, 'null': type(None), 'boolean': bool}
    types = schema.get('type', [])
    types = [types] if isinstance(types, str) else types
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    good = [t for t in types if t in kinds and isinstance(value, kinds[t]) or t == 'number' and number
            or t == 'integer' and number and value == int(value)]
    if types and not good:
        return [f'{path}: {value!r} is no {types}']
    found = []
    if 'enum' in schema and value not in schema['enum'] or value != schema.get('const', value):
        found.append(f'{path}: {value!r}')
    if isinstance(value, dict):
        found += [f'{path}: no {name}' for name in schema.get('required', []) if name not in value]
        for name, inner in schema.get('properties', {}).items():
            if name in value:
                found += check_schema(inner, value[name], root, f'{path}.{name}')
    if isinstance(value, list) and 'items' in schema:
        for i, item in enumerate(value):
            found += check_schema(schema['items'], item, root, f'{path}[{i}]')
    return found


class Schema(Formats):
    """docs/bench-schema.json holds for what is printed. With python3-jsonschema by the book, always by check_schema."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(os.path.join(SOURCE, 'docs', 'bench-schema.json'), encoding='utf-8') as file:
            cls.schema = json.load(file)

    def mistakes(self, rows):
        own = check_schema(self.schema, rows, self.schema)
        try:
            import jsonschema
            validator = jsonschema.Draft202012Validator
        except (ImportError, AttributeError):
            print('no python3-jsonschema 4: the schema is checked by what this test knows of JSON Schema')
            return own
        validator.check_schema(self.schema)
        real = [error.message for error in validator(self.schema).iter_errors(rows)]
        self.assertEqual(bool(own), bool(real), (own, real))
        return own

    def test_holds(self):
        e2e = percentiles(1.5, 2.5, 3.5, 32)
        serve = {'requests': 32, 'finished': 32, 'rate': 2.0, 'tokens_in': 1, 'tokens_out': 1, 'e2e_ms': e2e,
                 'queue_ms': e2e, 'trace': 'chat'}
        rows = [prompt_row(), row(), row(status='FAILED', reason='x'), row(kind='serve', serve=serve),
                row(roofline=None, memory=None, verify=None, machine=None, interleave={'id': 'i', 'index': 0})]
        self.assertEqual(self.mistakes([row()]), [])
        self.assertEqual(self.mistakes(json.loads(self.convert(rows, 'json'))), [])
        llama = os.path.join(SOURCE, 'tests', 'bench', 'llama-bench')
        for name in ('.json', '.csv'):
            imported = self.ok('bench', 'import', llama + name, '-o', 'json').json
            self.assertEqual(self.mistakes(imported), [], name)

    def test_fails(self):
        """The check can fail."""
        made = row()
        del made['cv']
        self.assertEqual(len(self.mistakes([made])), 1)
        for change in ({'avg_ts': 'fast'}, {'status': 'good'}, {'schema': 'halyard-bench/2'}, {'flags': 'noisy'},
                       {'roofline__bound': 'disk'}, {'samples_ts': [1, 'x']}, {'model_size': -1.5}):
            self.assertNotEqual(self.mistakes([row(**change)]), [], change)
