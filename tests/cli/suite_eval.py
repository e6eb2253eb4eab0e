"""`halyard eval`: perplexity, logits and KL divergence against the float64 reference."""
import array
import math
import os
import re
import sys

from harness import CliTest, data, expected, tinystories


def read_npy(path):
    """Shape and float32 values."""
    with open(path, 'rb') as file:
        raw = file.read()
    assert raw[:8] == b'\x93NUMPY\x01\x00', raw[:16]
    header = int.from_bytes(raw[8:10], 'little')
    assert (10 + header) % 64 == 0
    text = raw[10:10 + header].decode()
    assert "'descr': '<f4'" in text and "'fortran_order': False" in text, text
    shape = [int(n) for n in re.search(r'\(([\d, ]*)\)', text)[1].split(',') if n.strip()]
    return shape, floats(raw[10 + header:])


def floats(raw):
    values = array.array('f')
    values.frombytes(raw)
    if sys.byteorder == 'big':
        values.byteswap()
    return values


def nmse(got, want):
    error = sum((g - w) ** 2 for g, w in zip(got, want))
    return error / sum(w * w for w in want)


class Eval(CliTest):
    def setUp(self):
        self.model = tinystories()
        self.story = expected('expected_nll.json')['story']
        self.shakespeare = expected('expected_nll.json')['shakespeare_first_1200_chars']
        self.story_file = self.write('story.txt', self.story['text'])

    def check(self, result, want):
        self.assertEqual(result['tokens'], len(want['ids']))
        self.assertEqual(result['scored'], len(want['nll']))
        self.assertLess(abs(result['perplexity'] / want['ppl'] - 1), 1e-5)
        self.assertLess(abs(result['nll'] - want['mean_nll']), 1e-5)
        n, mean = len(want['nll']), want['mean_nll']
        deviation = math.sqrt(sum((x - mean) ** 2 for x in want['nll']) / (n - 1) / n)
        self.assertLess(abs(result['perplexity_error'] / (want['ppl'] * deviation) - 1), 1e-3)

    def test_perplexity(self):
        for device in ('cpu', 'ref'):
            common = ('eval', '-m', self.model, '--device', device, '--kv-type', 'f32', '--json')
            self.check(self.ok(*common, '-f', self.story_file).json, self.story)
            ids = ','.join(str(i) for i in self.shakespeare['ids'])
            self.check(self.ok(*common, '-c', 512, '--ids', ids,
                               warning='context of 512').json, self.shakespeare)

    def test_perplexity_as_text(self):
        for device in ('cpu', 'ref'):
            text = self.ok('eval', '-m', self.model, '--device', device, '--kv-type', 'f32',
                           '-f', '-', stdin=self.story['text'].encode()).text
            self.assertRegex(text, r'^perplexity 2\.4256 \+/- 0\.\d{4}   \(80 tokens scored, [\d.]+ tokens/s\)\n$')

    def test_ids_and_batches(self):
        ids = ','.join(str(i) for i in self.story['ids'])
        for more in ((), ('-b', 7), ('-t', 1, '-b', 1), ('--isa', 'generic')):
            self.check(self.ok('eval', '-m', self.model, '--kv-type', 'f32', '--json', '--ids', ids, *more).json,
                       self.story)

    def test_windows(self):
        """Windows begin anew: the first token of each is not scored."""
        result = self.ok('eval', '-m', self.model, '--json', '-f', self.story_file, '--window', 20).json
        self.assertEqual((result['tokens'], result['scored']), (81, 76))
        self.assertGreater(result['perplexity'], self.story['ppl'])

    def test_one_token(self):
        for more in ((), ('--json',), ('--ids', 1), ('--window', 1, '-p', 'Tom')):
            words = more if '--ids' in more or '-p' in more else ('-p', '') + more
            self.refused('eval', '-m', self.model, *words, match='nothing to score')
        result = self.ok('eval', '-m', self.model, '--ids', 1, '--json', '--logits', self.path('one.npy')).json
        self.assertEqual((result['tokens'], result['scored'], result['perplexity']), (1, 0, None))
        self.assertEqual(read_npy(self.path('one.npy'))[0], [1, 512])

    def test_no_bos(self):
        result = self.ok('eval', '-m', self.model, '--json', '-f', self.story_file, '--no-bos').json
        self.assertEqual((result['tokens'], result['scored']), (80, 79))

    def test_logits(self):
        with open(data('models', 'tinystories-260k', 'expected_logits_story_f32.bin'), 'rb') as file:
            want = floats(file.read())
        out = self.path('logits.npy')
        for device, kv, bound in (('cpu', 'f32', 1e-9), ('ref', 'f32', 1e-11), ('cpu', 'f16', 2e-6)):
            self.ok('eval', '-m', self.model, '--device', device, '--kv-type', kv, '-f', self.story_file,
                    '--logits', out)
            shape, got = read_npy(out)
            self.assertEqual(shape, [81, 512])
            self.assertEqual(len(want), 80 * 512)
            self.assertLessEqual(nmse(got[:len(want)], want), bound, (device, kv))
        os.remove(out)

    def test_kld(self):
        out = self.path('ref.npy')
        common = ('eval', '-m', self.model, '-f', self.story_file)
        self.ok(*common, '--logits', out)
        self.assertIn('KL divergence 0.0000e+00, top-1 agreement 100.00 %   (81 rows)',
                      self.ok(*common, '--kld', out).text)
        same = self.ok(*common, '--kld', out, '--json').json
        self.assertEqual((same['kld'], same['top1_agreement']), (0, 1))
        self.ok('quantize', self.model, self.path('q4.gguf'), 'q4_0')
        other = self.ok('eval', '-m', self.path('q4.gguf'), '-f', self.story_file, '--kld', out, '--json').json
        self.assertTrue(1e-5 < other['kld'] < 0.5, other)
        self.assertTrue(0.5 < other['top1_agreement'] < 1, other)
        self.refused('eval', '-m', self.model, '-p', 'Short', '--kld', out, match=r'shape \[81, 512\], expected')
        self.write('bad.npy', b'\x93NUMPY\x01\x00\x10\x00nonsense')
        self.refused(*common, '--kld', self.path('bad.npy'), match='bad.npy')
        self.refused(*common, '--kld', self.path('none.npy'), match='none.npy')
