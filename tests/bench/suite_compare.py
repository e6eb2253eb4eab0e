"""`halyard bench compare`: what goes with what, what is said of it, and when nothing is said."""
import json
import math
import os
import random
import statistics

from harness import CliTest

from rows import prompt_row, row

LLAMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'llama-bench.json')
STEADY = (100.0, 100.5, 99.5, 100.25, 99.75)


def times(factor, samples=STEADY):
    return [factor * sample for sample in samples]


class Compare(CliTest):
    def files(self, a, b):
        return (path if isinstance(path, str) else self.write(name, json.dumps(path))
                for name, path in (('a.json', a), ('b.json', b)))

    def compare(self, a, b, *more, code=0):
        """The result as JSON. With another code, what is said on standard error must be one line."""
        result = self.call('bench', 'compare', *self.files(a, b), '-o', 'json', *more)
        self.assertEqual(result.code, code, result)
        self.assertEqual(len(result.err.splitlines()), 1 if code else 0, result)
        return result.json

    def one(self, a, b, *more, code=0):
        """The only pair of rows, all matched."""
        result = self.compare([a], [b], *more, code=code)
        self.assertEqual(result['unmatched'], [], result)
        return result['rows'][0]

    def refuses(self, a, b, *match):
        got = self.one(a, b, code=1)
        self.assertEqual(got['verdict'], 'refused', got)
        for pattern in match:
            self.assertRegex(got['reason'], pattern)
        return got


class Verdicts(Compare):
    def test_faster_and_slower(self):
        got = self.one(row(STEADY), row(times(1.05)))
        self.assertEqual((got['verdict'], got['method'], got['scope']), ('faster', 'welch', 'same device'))
        self.assertAlmostEqual(got['ratio'], 1.05, places=6)
        self.assertTrue(1.04 < got['low'] < 1.05 < got['high'] < 1.06, got)
        self.assertEqual((got['ts_a'], got['samples_a'], got['samples_b']), (100, 5, 5))
        self.assertEqual(self.one(row(times(1.05)), row(STEADY))['verdict'], 'slower')

    def test_same_and_unclear(self):
        other = (99.9, 100.6, 99.6, 100.2, 99.8)
        self.assertEqual(self.one(row(STEADY), row(other))['verdict'], 'same')
        self.assertEqual(self.one(row(STEADY), row(other), '--threshold', 0.3)['verdict'], 'unclear')
        wide = self.one(row((90, 95, 100, 105, 110)), row((92, 96, 101, 107, 111)))
        self.assertEqual(wide['verdict'], 'unclear')
        self.assertTrue(wide['low'] < 0.98 < 1.02 < wide['high'])
        self.assertEqual(self.one(row((50, 50, 50)), row((50, 50, 50)))['verdict'], 'same')
        for low, high in ((98.0, 100.2), (99.8, 102.0)):  # beyond the threshold on one side alone
            one_side = self.one(row(STEADY), row((low, high, (low + high) / 2, low, high)))
            self.assertNotEqual(0.98 < one_side['low'], one_side['high'] < 1.02, one_side)
            self.assertEqual(one_side['verdict'], 'unclear')

    def test_welch(self):
        """Against the formulas, with the 97.5 % point of t for 6 degrees of freedom that equal variances give."""
        a, b = [100, 102, 104, 98], [110, 112.2, 114.4, 107.8]
        got = self.one(row(a), row(b))
        logs = [math.log(value) for value in a]
        mean = sum(logs) / 4
        error = math.sqrt(2 * sum((x - mean) ** 2 for x in logs) / 3 / 4)
        self.assertAlmostEqual(got['ratio'], 1.1, places=8)
        self.assertAlmostEqual(got['high'], 1.1 * math.exp(2.446912 * error), places=6)
        self.assertAlmostEqual(got['low'], 1.1 * math.exp(-2.446912 * error), places=6)

    def test_pairs(self):
        """Interleaved rows: a drift of 30 % that both share hides 5 % from Welch, not from pairs."""
        drift = (1.0, 0.9, 0.8, 0.75, 0.7, 0.85)
        a = [100 * d for d in drift]
        b = [105 * d * e for d, e in zip(drift, (1.002, 0.999, 1.001, 0.998, 1.0, 1.0))]
        turns = {'a': {'id': 'run', 'index': 0}, 'b': {'id': 'run', 'index': 1}}
        got = self.one(row(a, interleave=turns['a']), row(b, interleave=turns['b']))
        self.assertEqual((got['verdict'], got['method']), ('faster', 'pairs'))
        self.assertTrue(1.045 < got['low'] < 1.05 < got['high'] < 1.055, got)
        self.refuses(row(a), row(b), 'scatters')
        for other in ({'id': 'another', 'index': 1}, turns['a'], None):
            self.assertEqual(self.refuses(row(a, interleave=turns['a']), row(b, interleave=other))['method'], 'welch')
        short = self.refuses(row(a, interleave=turns['a']), row(b[:-1], interleave=turns['b']))
        self.assertEqual(short['method'], 'welch')

    def test_own_movement(self):
        """A difference that the machine's own peaks show as well says nothing of the program."""
        moved = self.one(row(STEADY), row(times(1.03), roofline__read_gbps=60.9 * 1.04))
        self.assertEqual(moved['verdict'], 'unclear')
        self.assertRegex(moved['reason'], r'moved by 4\.0 %')
        self.assertEqual(self.one(row(STEADY), row(times(1.06), roofline__read_gbps=60.9 * 1.04))['verdict'], 'faster')

    def test_files(self):
        """JSON lines, llama-bench against us, and standard input."""
        lines = self.write('b.jsonl', json.dumps(row(times(1.05))) + '\n')
        self.assertEqual(self.compare([row(STEADY)], lines)['faster'], 1)
        result = self.ok('bench', 'compare', '-', lines, '-o', 'json', stdin=json.dumps([row(STEADY)]).encode())
        self.assertEqual(result.json['rows'][0]['verdict'], 'faster')
        got = self.compare(LLAMA, [prompt_row(), row()])
        self.assertEqual([(r['test'], r['verdict']) for r in got['rows']], [('pp512', 'faster'), ('tg128', 'faster')])
        self.assertRegex(got['rows'][0]['note'], 'A is llama.cpp, B halyard')
        self.assertEqual([r['test'] for r in got['unmatched']], ['pp512+tg128', 'tg128 @ d4096'])

    def test_counts(self):
        a = [row(test=f'tg{i}') for i in range(5)]
        b = [row(times(1.1), test='tg0'), row(times(0.9), test='tg1'), row(test='tg2'),
             row((70, 75, 80), test='tg3'), row(status='error', reason='device lost', test='tg4')]
        for made in a[:2]:
            made.update(samples_ts=list(STEADY))
        got = self.compare(a, b)
        self.assertEqual([got[name] for name in ('faster', 'slower', 'same', 'unclear', 'refused', 'threshold')],
                         [1, 1, 1, 1, 1, 2])


class Refused(Compare):
    """No verdict, and why."""

    def test_status(self):
        for status in ('FAILED', 'error', 'skipped'):
            got = self.refuses(row(), row((999.25,) * 3, status=status, reason='logits are wrong'), 'B is ' + status,
                               'logits are wrong')
            self.assertEqual([got[name] for name in ('ts_b', 'ratio', 'low', 'high')], [None] * 4)
            text = self.call('bench', 'compare', *self.files([row()], [row((999.25,) * 3, status=status)])).text
            self.assertNotIn('999.25', text)
        self.refuses(row(status='FAILED', reason=None), row(), 'A is FAILED')

    def test_samples(self):
        self.refuses(row(STEADY[:2]), row(), 'A has 2 samples, a verdict needs 3')
        self.refuses(row(), row(STEADY[:1]), 'B has 1 sample,')
        self.refuses(row(), row(samples_ts=None), 'B has no samples')
        self.assertEqual(self.one(row(STEADY[:3]), row(times(1.1)))['verdict'], 'faster')
        self.refuses(row(), row(samples_ts=[1, 2, -3]), 'no speed')

    def test_scatter(self):
        self.refuses(row((80, 100, 120)), row(), r'A scatters by 20\.0 % \(more than 10 %\)')
        self.refuses(row((80, 100, 120), interleave={'id': 'x', 'index': 0}),
                     row((120, 100, 80), interleave={'id': 'x', 'index': 1}), "pairs' ratios scatter")

    def test_machine_moved(self):
        self.refuses(row(), row(roofline__read_gbps=57.0), 'machine moved', 'read peak was 60.9, then 57 GB/s')
        self.assertEqual(self.one(row(), row(roofline__read_gbps=58.5))['verdict'], 'same')
        # The compute peak that counts is what bounds the row, or else the highest.
        self.refuses(prompt_row(), prompt_row(roofline__int8_gflops=940.0), 'int8 peak was 889.2, then 940 GFLOP/s')
        self.refuses(row(), row(roofline__int8_gflops=940.0), 'int8')
        self.assertEqual(self.one(prompt_row(), prompt_row(roofline__f32_gflops=300.0))['verdict'], 'same')
        self.refuses(prompt_row(roofline__bound='f32'), prompt_row(roofline__f32_gflops=300.0), 'f32 peak')
        self.refuses(row(), row(machine__cpu__frequency__governor='powersave'), 'governor changed from performance to powersave')
        # Side by side it moved for both.
        turns = [row(interleave={'id': 'x', 'index': i}, roofline__read_gbps=60.9 - 10 * i) for i in range(2)]
        self.assertEqual(self.one(*turns)['verdict'], 'same')

    def test_disturbed(self):
        for flag in ('busy', 'throttled'):
            self.refuses(row(), row(flags=[flag]), f'machine of B alone was {flag}')
            self.refuses(row(flags=[flag]), row(flags=[flag]), f'machine of both was {flag}')
            turns = [row(flags=[flag], interleave={'id': 'x', 'index': i}) for i in range(2)]
            got = self.one(*turns)
            self.assertEqual((got['verdict'], got['note']), ('same', f'{flag} in both'))
            turns[1]['flags'] = []
            self.refuses(*turns, f'machine of A alone was {flag}')
        self.assertEqual(self.one(row(flags=['noisy', 'drift']), row())['verdict'], 'same')


class Matching(Compare):
    def pairs(self, a, b, code=0):
        result = self.compare(a, b, code=code)
        return ([(r['a'], r['b']) for r in result['rows']],
                {(r['file'], r['index']): r['reason'] for r in result['unmatched']})

    def test_keys(self):
        """Rows that measured other work have no partner, and the list says what differs."""
        for change, reason in (({'test': 'tg64'}, 'no such test'), ({'model__sha256': 'ff' * 32}, 'no such test'),
                               ({'options__numerics': 'fast'}, 'numerics {}, not {}'),
                               ({'options__kv_type': 'q8_0'}, 'KV type {}, not {}'),
                               ({'n_threads': 4}, 'threads {}, not {}'), ({'n_batch': 64}, 'batch {}, not {}'),
                               ({'n_ubatch': 64}, 'micro batch {}, not {}')):
            name, value = next(iter(change.items()))
            before = row()
            for part in name.split('__'):
                before = before[part]
            pairs, unmatched = self.pairs([row()], [row(**change)], code=1)
            self.assertEqual(pairs, [], change)
            self.assertIn(reason.format(before, value), unmatched['a', 0])
            self.assertIn(reason.format(value, before), unmatched['b', 0])

    def test_order_does_not_matter(self):
        a = [row(), prompt_row(), row(n_threads=4), row(test='tg128 @ d4096')]
        pairs, unmatched = self.pairs(a, [a[2], a[3], a[0], a[1]])
        self.assertEqual((sorted(pairs), unmatched), ([(0, 2), (1, 3), (2, 0), (3, 1)], {}))

    def test_repeated_rows(self):
        pairs, unmatched = self.pairs([row(), row(), row()], [row(), row()])
        self.assertEqual(pairs, [(0, 0), (1, 1)])
        self.assertEqual(unmatched, {('a', 2): 'its like is compared with another row already'})

    def test_unknown_is_equal(self):
        """What a row does not say is no difference; what both say is."""
        self.assertEqual(self.pairs([row(options__numerics=None, model__sha256=None)], [row()])[0], [(0, 0)])
        foreign = dict(model__sha256=None, model_type='LLAMA 1B q4_0', model_size=int(695353344 * 1.005))
        self.assertEqual(self.pairs([row(**foreign)], [row()])[0], [(0, 0)])
        for change in ({'model_n_params': 1}, {'model_size': 795353344}, {'model_type': 'llama 1B Q8_0'}):
            self.assertEqual(self.pairs([row(**dict(foreign, **change))], [row()], code=1)[0], [], change)

    def machine(self, cpu, threads, samples=STEADY, **more):
        return row(samples, cpu_info=cpu, device_info__name=cpu, n_threads=threads, **more)

    def test_machines(self):
        """Two machines: another device, other threads, another peak, and yet a verdict, called what it is."""
        a, b = self.machine('EPYC', 2), self.machine('Xeon', 8, times(2), roofline__read_gbps=200.0)
        got = self.one(a, b)
        self.assertEqual((got['verdict'], got['scope'], got['note']),
                         ('faster', 'machines', 'two machines are compared'))
        self.assertEqual((got['device_a'], got['device_b']), ('EPYC', 'Xeon'))
        # The same processor in another machine; a kernel that keeps a little more memory makes none.
        other = self.machine('EPYC', 2, roofline__read_gbps=10.0, machine__cpu__frequency__governor='powersave')
        self.refuses(a, other, 'governor')
        for name, value, same in (('cpu__threads', 64, False), ('memory__total_bytes', 17179869184, False),
                                  ('memory__total_bytes', 8511234567, True)):
            made = self.machine('EPYC', 2, roofline__read_gbps=10.0, **{'machine__' + name: value})
            if same:
                self.refuses(a, made, 'moved')
            else:
                self.assertEqual(self.one(a, made)['scope'], 'machines')
        self.assertEqual(self.one(*(dict(a, machine={'id': name}) for name in 'xy'))['scope'], 'machines')

    def gpu(self, index, name, **more):
        return row(device=f'cuda:{index}', device_info__name=name, backends='CUDA', **more)

    def test_devices(self):
        got = self.one(row(STEADY), self.gpu(0, 'H100', samples=times(8)))
        self.assertEqual((got['verdict'], got['scope']), ('faster', 'devices of one machine'))
        # Each with its own name, even when others would do; then by its number.
        a = [self.gpu(0, 'H100'), self.gpu(1, 'A10'), row()]
        self.assertEqual(sorted(self.pairs(a, [row(), a[1], a[0]])[0]), [(0, 2), (1, 1), (2, 0)])
        others = [self.gpu(0, 'B200'), self.gpu(1, 'L4')]
        self.assertEqual(self.pairs(a[:2], others)[0], [(0, 0), (1, 1)])
        twins = [self.gpu(0, 'H100'), self.gpu(1, 'H100')]
        self.assertEqual(sorted(self.pairs(twins, twins[::-1])[0]), [(0, 1), (1, 0)])

    def test_ambiguous(self):
        """Nobody guesses which of two devices is meant."""
        a, b = [row()], [self.gpu(0, 'H100'), self.gpu(1, 'A10')]
        pairs, unmatched = self.pairs(a, b, code=1)
        self.assertEqual((pairs, unmatched['a', 0]), ([], '2 rows of other devices could be meant'))

    def test_took_turns(self):
        """Rows of one interleaved run go together, whatever else would fit."""
        alone = self.gpu(0, 'H100')
        a = row(interleave={'id': 'x', 'index': 0})
        b = self.gpu(0, 'H100', interleave={'id': 'x', 'index': 1})
        self.assertEqual(self.pairs([a, alone], [row(), b])[0][0], (0, 1))


class Exit(Compare):
    def test_fail_if_slower(self):
        slower, slightly = row(times(0.9)), row(times(0.98))
        self.one(row(STEADY), slower, '--fail-if-slower', 5, code=3)
        self.one(row(STEADY), slightly, '--fail-if-slower', 5)
        self.one(row(STEADY), slightly, '--fail-if-slower', 0, code=3)
        self.one(row(STEADY), row(times(1.1)), '--fail-if-slower', 0)
        self.one(row(STEADY), row(times(0.949)), '--fail-if-slower', 5)  # but not with its whole interval

    def test_usage(self):
        path = self.write('rows.json', json.dumps([row()]))
        self.refused('bench', 'compare', match='two files', code=2)
        self.refused('bench', 'compare', path, match='two files', code=2)
        self.refused('bench', 'compare', path, path, path, match='unexpected', code=2)
        self.refused('bench', 'compare', path, path, '-o', 'csv', match=('csv', 'md, json'), code=2)
        for value in ('-1', '100', 'nan', 'wide'):
            self.refused('bench', 'compare', path, path, '--threshold', value, match='threshold', code=2)
            self.refused('bench', 'compare', path, path, '--fail-if-slower', value, match='slower', code=2)
        self.refused('bench', 'compare', '-', '-', match='standard input', code=2)
        self.refused('bench', 'compare', path, '/no/such', match='/no/such', code=1)
        self.refused('bench', 'compare', path, self.write('bad', '[{'), match=('bad', 'line 1 column'), code=1)
        text = self.ok('bench', 'compare', '--help').text
        for word in ('--threshold', '--fail-if-slower', '-o'):
            self.assertIn(word, text)

    def test_nothing(self):
        result = self.call('bench', 'compare', *self.files([row()], [prompt_row()]))
        self.check_refused(result, 'no row of one file matches', code=1)
        self.assertIn('no such test', result.text)
        result = self.call('bench', 'compare', *self.files([row()], [row(STEADY[:2])]))
        self.check_refused(result, 'every pair of rows was refused', code=1)

    def test_table(self):
        """The table says what the JSON says."""
        a, b = [row(STEADY), prompt_row()], [row(times(1.05)), prompt_row(flags=['busy']), row(test='tg7')]
        lines = self.ok('bench', 'compare', *self.files(a, b)).text.split('\n')
        cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines if line.startswith('|')]
        self.assertEqual(cells[0], ['model', 'test', 'device', 'A t/s', 'B t/s', 'B / A', '95 % interval', 'samples',
                                    'verdict'])
        got = self.compare(a, b)['rows'][0]
        self.assertEqual(cells[2], ['llama 1B Q4_0', 'tg128', 'AMD EPYC 9B14', '100.00', '105.00', '1.0500',
                                    f"{got['low']:.4f}-{got['high']:.4f}", '5, 5', 'faster'])
        self.assertEqual(cells[3][-1], 'refused: the machine of B alone was busy')
        self.assertIn('  B llama 1B Q4_0, tg7, AMD EPYC 9B14: the other file has no such test of this model', lines)


class Simulated(Compare):
    """200 runs of 10 repetitions of two builds. The machine's speed walks, as clocks and neighbours make it; each
    repetition has noise of its own on top."""
    RUNS, REPETITIONS, NOISE = 200, 10, 0.015

    def setUp(self):
        self.random = random.Random(20261126)

    def walk(self, step):
        level, levels = 100.0, []
        for _ in range(self.REPETITIONS):
            level *= math.exp(self.random.gauss(0, step))
            levels.append(level)
        return levels

    def samples(self, levels, factor):
        return [factor * level * math.exp(self.random.gauss(0, self.NOISE)) for level in levels]

    def take_turns(self, factor):
        sides = [], []
        for run in range(self.RUNS):
            levels = self.walk(0.03)
            for index, speed in enumerate((1.0, factor)):
                sides[index].append(row(self.samples(levels, speed), test=f'tg{run + 1}',
                                        interleave={'id': f'run {run}', 'index': index}))
        return self.compare(*sides)

    def test_five_percent(self):
        result = self.take_turns(1.05)
        self.assertGreaterEqual(result['faster'], 198)
        self.assertEqual(result['slower'], 0)
        mean = sum(math.log(r['ratio']) for r in result['rows']) / self.RUNS
        self.assertAlmostEqual(math.exp(mean), 1.05, delta=0.002)
        # The truth is in 95 of 100 intervals.
        inside = sum(r['low'] <= 1.05 <= r['high'] for r in result['rows'])
        self.assertTrue(184 <= inside <= 196, inside)

    def test_against_itself(self):
        result = self.take_turns(1.0)
        wrong = result['faster'] + result['slower']
        self.assertLessEqual(wrong, 0.05 * self.RUNS + 8)  # 8: 2.6 standard deviations of that count
        self.assertEqual(result['same'] + result['unclear'] + wrong, self.RUNS)

    def test_one_after_the_other(self):
        """Two runs of one build, each on a machine that walks its own way, as its probe sees: no verdict."""
        sides = [], []
        for run in range(self.RUNS):
            for side in sides:
                levels = self.walk(0.01)
                side.append(row(self.samples(levels, 1.0), test=f'tg{run + 1}',
                                roofline__read_gbps=statistics.median(levels)))
        result = self.compare(*sides)
        outside = sum(not r['low'] <= 1 <= r['high'] for r in result['rows'])
        self.assertGreater(outside, 80)  # what the intervals alone would call a difference
        self.assertLessEqual(result['faster'] + result['slower'], 0.05 * self.RUNS + 8)
