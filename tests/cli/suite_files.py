"""`tokenize`, `quantize` and `synth`: text and files, both ways."""
import json
import os

import gguf_file
from harness import CliTest, SANITIZER, data, expected, tinystories

TYPES = ('f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4').split()
NUMBERS = dict(zip(TYPES, (0, 1, 30, 8, 2, 3, 6, 7, 10, 11, 12, 13, 14, 20, 23, 39)))  # GGUF's


class Tokenize(CliTest):
    def setUp(self):
        self.model = tinystories()

    def test_story(self):
        story = expected('expected_nll.json')['story']
        for args, stdin in ((('-p', story['text']), b''), ((), story['text'].encode())):
            result = self.ok('tokenize', '-m', self.model, '--json', *args, stdin=stdin).json
            self.assertEqual(result, {'ids': story['ids']})
        plain = self.ok('tokenize', '-m', self.model, '-p', story['text']).text
        self.assertEqual(plain, ' '.join(str(i) for i in story['ids']) + '\n')
        bare = self.ok('tokenize', '-m', self.model, '-p', story['text'], '--no-bos', '--json').json
        self.assertEqual(bare['ids'], story['ids'][1:])

    def test_round_trip(self):
        for text in ('Once upon a time', 'a  b\n\n c\t!', 'naïve 世界 😀 done', 'x', ' leading and trailing '):
            ids = self.ok('tokenize', '-m', self.model, '-p', text, '--json').json['ids']
            plain = ' '.join(str(i) for i in ids)
            for form in (json.dumps(ids), plain, plain.replace(' ', ','), f'\n {plain}\n'):
                back = self.ok('tokenize', '-m', self.model, '--decode', '-p', form)
                self.assertEqual(back.text, text + '\n')
                back = self.ok('tokenize', '-m', self.model, '--decode', '--json', stdin=form.encode()).json
                self.assertEqual(back, {'text': text})

    def test_special(self):
        spelled = self.ok('tokenize', '-m', self.model, '--no-bos', '--json', '-p', '</s>').json['ids']
        control = self.ok('tokenize', '-m', self.model, '--no-bos', '--json', '--special', '-p', '</s>').json['ids']
        self.assertGreater(len(spelled), 1)
        self.assertEqual(control[-1:], [2])
        self.assertEqual(self.ok('tokenize', '-m', self.model, '--decode', '-p', '1,403,2').text.strip(), 'Once')
        text = self.ok('tokenize', '-m', self.model, '--decode', '--special', '-p', '1,403,2').text
        self.assertIn('<s>', text)
        self.assertIn('</s>', text)

    def test_vocabulary_only_file(self):
        model = data('tokenizers', 'llama.cpp-vocab', 'ggml-vocab-gpt-2.gguf')
        ids = self.ok('tokenize', '-m', model, '--no-bos', '--json', '-p', 'Hello world').json
        self.assertEqual(ids, {'ids': [15496, 995]})
        self.refused('run', '-m', model, '-p', 'x', match='no tensors')

    def test_empty(self):
        self.assertEqual(self.ok('tokenize', '-m', self.model, '--no-bos', '-p', '', '--json').json, {'ids': []})
        self.assertEqual(self.ok('tokenize', '-m', self.model, '--decode', '-p', '', '--json').json, {'text': ''})


class Quantize(CliTest):
    def test_every_type(self):
        source = self.synth('source.gguf', 'tiny', 'f32')
        before = gguf_file.load(source)
        sizes = {}
        for kind in TYPES:
            path = self.path(kind + '.gguf')
            self.ok('quantize', source, path, kind)
            after = gguf_file.load(path)
            self.assertEqual([t.name for t in after.tensors], [t.name for t in before.tensors])
            self.assertEqual(after.tensor('blk.0.ffn_down.weight').kind, NUMBERS[kind])
            self.assertEqual(after.tensor('blk.0.attn_norm.weight').kind, 0)
            for key, value in before.values.items():
                if key not in ('general.file_type', 'general.quantization_version'):
                    self.assertEqual(after.values.get(key), value, key)
            result = self.ok('run', '-m', path, '-p', 'abc', '-n', 4, '-t', 1, '--json').json
            self.assertEqual(len(result['ids']), 4)
            self.ok('run', '-m', path, '-p', 'abc', '-n', 1, '--device', 'ref')
            sizes[kind] = os.path.getsize(path)
        order = ['q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k', 'q8_0', 'f16', 'f32']
        self.assertEqual(sorted(order, key=sizes.get), order)
        upper = self.path('upper.gguf')
        self.ok('quantize', source, upper, 'Q4_K', '-t', 2)
        self.assertEqual(self.read(upper), self.read(self.path('q4_k.gguf')))

    def read(self, path):
        with open(path, 'rb') as file:
            return file.read()

    def test_identity_and_in_place(self):
        """The same type again changes no tensor; the output may be the input."""
        source = self.synth('a.gguf', 'tiny', 'q4_0')
        self.ok('quantize', source, self.path('b.gguf'), 'q4_0')
        for a, b in zip(gguf_file.load(source).tensors, gguf_file.load(self.path('b.gguf')).tensors):
            self.assertEqual((a.name, a.kind, a.data), (b.name, b.kind, b.data))
        for target in (self.path('c.gguf'), source):
            self.ok('quantize', source, target, 'q8_0', warning='quantized already')
        self.assertEqual(self.read(source), self.read(self.path('c.gguf')))

    def test_pipe_is_silent_and_threads_do_not_matter(self):
        source = self.synth('d.gguf', 'tiny', 'f32')
        for threads in (1, 3):
            self.ok('quantize', source, self.path(f'{threads}.gguf'), 'q6_k', '-t', threads)
        self.assertEqual(self.read(self.path('1.gguf')), self.read(self.path('3.gguf')))


class Synth(CliTest):
    def test_seed(self):
        files = [self.read_of(*more) for more in ((), ('--seed', 1), ('--seed', 2))]
        self.assertEqual(files[0], files[1])
        self.assertNotEqual(files[0], files[2])

    def read_of(self, *more):
        with open(self.synth('seed.gguf', 'tiny', 'q4_0', *more), 'rb') as file:
            return file.read()

    def test_list(self):
        shapes = self.ok('synth', '--list').text.split()
        for shape in ('tiny', 'llama-3.2-1b', 'tinyllama-1.1b', 'qwen3-0.6b', 'llama-3-8b'):
            self.assertIn(shape, shapes)

    def every_type(self, shape, tensor, types):
        for kind in types:
            path = self.synth(kind + '.gguf', shape, kind)
            if kind in NUMBERS:
                self.assertEqual(gguf_file.load(path).tensor(tensor).kind, NUMBERS[kind])
            texts = [self.ok('run', '-m', path, '-p', 'a b', '-n', 3, '--json', *more).json['ids']
                     for more in (('-t', 1), ('--isa', 'generic'))]
            self.assertEqual([len(ids) for ids in texts], [3, 3], kind)

    def test_every_type(self):
        self.every_type('tiny', 'blk.1.ffn_up.weight', TYPES + ['q4_k_m'])

    def test_every_type_of_experts(self):
        self.every_type('tiny-moe', 'blk.1.ffn_up_exps.weight', TYPES[::4] if SANITIZER else TYPES + ['q4_k_m'])

    def test_mixed(self):
        kinds = {t.kind for t in gguf_file.load(self.synth('mixed.gguf', 'tiny', 'q4_k_m')).tensors}
        self.assertEqual(kinds, {0, NUMBERS['q4_k'], NUMBERS['q6_k']})

    def test_tokenizer_round_trip(self):
        path = self.synth('tokens.gguf')
        text = 'the quick brown fox, naïve 世界\n'
        ids = self.ok('tokenize', '-m', path, '-p', text, '--json').out
        self.assertEqual(json.loads(ids)['ids'][0], 509)  # <|begin_of_text|>
        self.assertEqual(self.ok('tokenize', '-m', path, '--decode', '-p', ids[7:-2]).text, text + '\n')
