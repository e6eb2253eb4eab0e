"""`halyard run`: the expected tokens and text, prompts, stopping, sampling, JSON."""
import re
import struct
import subprocess

import gguf_file
import harness
from harness import CliTest, SANITIZER, expected, tinystories

FIELDS = {'model', 'device', 'prompt_ids', 'ids', 'text', 'stop_reason', 'timings'}
TIMINGS = {'load_ms', 'prefill_ms', 'decode_ms', 'prefill_tps', 'decode_tps'}
LONG = 'context of 512'  # the file says 128


class Greedy(CliTest):
    """The tokens of expected_greedy.json, exactly, for F32 and F16."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cases = expected('expected_greedy.json')['cases']

    def check(self, model, device, cases, *more):
        for case in cases:
            result = self.ok('run', '-m', model, '--device', device, '-c', 512, '-p', case['prompt'],
                             '-n', len(case['greedy_ids']), '--json', *more, warning=LONG).json
            with self.subTest(device=device, prompt=case['prompt']):
                self.assertEqual(result['prompt_ids'], case['prompt_ids'])
                self.assertEqual(result['ids'], case['greedy_ids'])
                self.assertEqual(case['prompt'] + result['text'], case['full_text'])
                self.assertEqual(result['stop_reason'], 'length')
                self.assertEqual(result['device'], device + ':0')

    def requantized(self, kind):
        path = self.path(kind + '.gguf')
        self.ok('quantize', tinystories(), path, kind)
        return path

    def test_f32_cpu(self):
        self.check(tinystories(), 'cpu', self.cases, '-t', 1)

    def test_f32_cpu_threads(self):
        self.check(tinystories(), 'cpu', self.cases[:1])

    def test_f32_ref(self):
        self.check(tinystories(), 'ref', self.cases[:1] if SANITIZER else self.cases)

    def test_f16_cpu(self):
        self.check(self.requantized('f16'), 'cpu', self.cases, '-t', 1)

    def test_f16_ref(self):
        self.check(self.requantized('f16'), 'ref', self.cases[1:2] if SANITIZER else self.cases)

    def test_ids_as_prompt(self):
        case = self.cases[0]
        result = self.ok('run', '-m', tinystories(), '-c', 512, '--ids', '1', '-n', 200, '--json', '-t', 2,
                         warning=LONG).json
        self.assertEqual(result['prompt_ids'], [1])
        self.assertEqual(result['ids'], case['greedy_ids'])

    def test_q8_0(self):
        model = self.requantized('q8_0')
        case = self.cases[1]
        for device in ('cpu', 'ref'):
            text = self.ok('run', '-m', model, '--device', device, '-p', case['prompt'], '-n', 20).text
            self.assertEqual(text, case['full_text'][len(case['prompt']):][:len(text) - 1] + '\n')
            self.assertGreater(len(text), 30)

    def test_batches_do_not_change_the_text(self):
        """Prompts of 12 tokens in steps of 5, and on other ISAs."""
        for more in (('-b', 5), ('-ub', 3), ('--isa', 'generic'), ('--isa', harness.MIDDLE_ISA), ('--validate',),
                     ('--no-prefix-cache',), ('--numerics', 'fast'), ('--kv-type', 'f32')):
            self.check(tinystories(), 'cpu', self.cases[2:3], *more, '-t', 2)


class Run(CliTest):
    def setUp(self):
        self.model = tinystories()

    def run_json(self, *args, **options):
        return self.ok('run', '-m', self.model, '-t', 1, '--json', *args, **options).json

    def test_json_fields(self):
        result = self.run_json('-p', 'Once upon a time', '-n', 8)
        self.assertEqual(set(result), FIELDS)
        self.assertEqual(set(result['timings']), TIMINGS)
        self.assertEqual(result['model'], self.model)
        self.assertEqual(len(result['ids']), 8)
        for name, value in result['timings'].items():
            self.assertIsInstance(value, float, name)
            self.assertGreater(value, 0, name)

    def test_prompt_sources_agree(self):
        text = 'Lily had a cat.\nIt was'
        want = self.run_json('-p', text, '-n', 6)
        self.write('prompt.txt', text)
        ids = ','.join(str(i) for i in want['prompt_ids'])
        for args, stdin in ((('-f', self.path('prompt.txt')), b''), (('-f', '-'), text.encode()),
                            (('--ids', ids), b''), (('--prompt=' + text,), b'')):
            got = self.run_json(*args, '-n', 6, stdin=stdin)
            self.assertEqual(got['prompt_ids'], want['prompt_ids'], args)
            self.assertEqual(got['ids'], want['ids'], args)

    def test_plain_text_equals_json_text(self):
        want = self.run_json('-p', 'Tom and', '-n', 30)['text']
        plain = self.ok('run', '-m', self.model, '-t', 1, '-p', 'Tom and', '-n', 30)
        self.assertEqual(plain.text, want + ('' if want.endswith('\n') else '\n'))
        self.assertIsNone(re.search(rb'[\x00-\x09\x0b-\x1f\x7f]', plain.out), plain)

    def test_no_bos_and_empty_prompt(self):
        self.assertEqual(self.run_json('-n', 1)['prompt_ids'], [1])
        self.assertEqual(self.run_json('-p', '', '-n', 1)['prompt_ids'], [1])
        with_bos = self.run_json('-p', 'Tom', '-n', 1)['prompt_ids']
        self.assertEqual(self.run_json('-p', 'Tom', '--no-bos', '-n', 1)['prompt_ids'], with_bos[1:])

    def test_lengths(self):
        for n in (0, 1, 5):
            result = self.run_json('-p', 'Tom', '-n', n)
            self.assertEqual((len(result['ids']), result['stop_reason']), (n, 'length'))
        self.assertEqual(len(self.run_json('-p', 'Tom')['ids']), 126)  # 3 before; the context of 128 ends it

    def test_context_stops(self):
        result = self.run_json('-p', 'Once upon a time', '-n', -1, '-c', 64)
        self.assertEqual(result['stop_reason'], 'context')
        self.assertEqual(len(result['prompt_ids']) + len(result['ids']), 65)  # the last one is not fed back

    def test_end_token_stops(self):
        """The fourth greedy token of the empty prompt (403 407 261 378) declared to be the end."""
        model = gguf_file.load(self.model)
        model.set_u32('tokenizer.ggml.eos_token_id', 378)
        path = self.write('eos.gguf', model.bytes())
        result = self.ok('run', '-m', path, '--ids', '1', '-n', 10, '--json').json
        self.assertEqual((result['ids'], result['stop_reason']), ([403, 407, 261], 'stop'))
        result = self.ok('run', '-m', path, '--ids', '1', '-n', 10, '--json', '--ignore-eos').json
        self.assertEqual((result['ids'][:4], result['stop_reason']), ([403, 407, 261, 378], 'length'))

    def test_seed(self):
        def sample(*args):
            return self.run_json('-p', 'Once upon a time', '-n', 40, '--temp', 0.8, *args)['ids']
        first = sample('--seed', 7)
        self.assertEqual(sample('--seed', 7), first)
        self.assertEqual(sample('-s', '0x7', '--device', 'ref'), first)
        others = [sample('--seed', seed) for seed in (8, 9)]
        self.assertNotIn(first, others)
        self.assertNotEqual(others[0], others[1])

    def test_sampling_options(self):
        greedy = self.run_json('-p', 'Once upon a time', '-n', 20)['ids']
        hot = ('-p', 'Once upon a time', '-n', 20, '--temp', 1.5, '--seed', 3)
        self.assertNotEqual(self.run_json(*hot)['ids'], greedy)
        for only_best in (('--top-k', 1), ('--top-p', 1e-6), ('--min-p', 1)):
            self.assertEqual(self.run_json(*hot, *only_best)['ids'], greedy, only_best)
        self.assertEqual(len(self.run_json(*hot, '--typical', 0.5)['ids']), 20)
        plain = self.run_json('-p', 'Once upon a time', '-n', 60)['ids']
        for penalty in (('--repeat-penalty', 1.3), ('--frequency-penalty', 1), ('--presence-penalty', 1)):
            ids = self.run_json('-p', 'Once upon a time', '-n', 60, *penalty)['ids']
            self.assertNotEqual(ids, plain, penalty)
            self.assertGreaterEqual(len(set(ids)), len(set(plain)), penalty)

    def test_timings_line(self):
        result = self.call('run', '-m', self.model, '-p', 'Tom', '-n', 4, '--timings')
        self.assertEqual(result.code, 0, result)
        self.assertRegex(result.err.decode(), r'^load .* prefill 3 tokens .* decode 3 tokens .*\n$')

    def test_streams_before_the_end(self):
        """Each piece of text reaches the pipe when it is there, not at exit: a reader that leaves early
        is noticed."""
        command = [str(a) for a in ('run', '-m', self.model, '-p', 'Once', '-n', 120, '-t', 1)]
        process = subprocess.Popen([harness.HALYARD] + command, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        first = process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        self.assertEqual(len(first), 1)
        self.assertEqual(process.wait(60), 1, err)
        self.assertRegex(err, rb'^halyard run: standard output: [^\n]*\n$')

    def test_chat(self):
        """A model with a template answers; without one it refuses."""
        model = gguf_file.load(self.model)
        template = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
                    "{{ '<|im_start|>assistant\n' }}{% endif %}")
        model.set_string('tokenizer.chat_template', template)
        path = self.write('chat.gguf', model.bytes())
        plain = self.ok('run', '-m', path, '-p', 'Hi', '-n', 2, '--json').json['prompt_ids']
        chat = self.ok('run', '-m', path, '-p', 'Hi', '-n', 2, '--chat', '--json').json['prompt_ids']
        system = self.ok('run', '-m', path, '-p', 'Hi', '-n', 2, '--chat', '--system', 'Be kind', '--json').json
        self.assertGreater(len(chat), len(plain) + 10)
        self.assertGreater(len(system['prompt_ids']), len(chat) + 5)
        turns = self.ok('run', '-m', path, '-i', '-n', 4, '-c', 512, stdin=b'Hi\n\nAnd you?\n', warning=LONG)
        self.assertEqual(turns.out.count(b'\n') >= 2, True, turns)


class Synthetic(CliTest):
    def test_unused_bytes_do_not_matter(self):
        """A vocabulary-sized prompt of every id runs: no id is special to the embedding."""
        model = self.synth('tiny.gguf')
        ids = ','.join(str(i) for i in range(512))
        result = self.ok('run', '-m', model, '--ids', ids, '-n', 2, '--json').json
        self.assertEqual(result['prompt_ids'], list(range(512)))

    def test_untrained_text_is_valid_utf8(self):
        model = self.synth('tiny.gguf')
        for seed in range(4):
            self.ok('run', '-m', model, '-p', 'héllo 世界', '-n', 40, '--temp', 3, '--seed', seed).text

    def test_nan_logits_are_refused(self):
        model = gguf_file.load(self.synth('f32.gguf', 'tiny', 'f32'))
        norm = model.tensor('output_norm.weight')
        norm.data = struct.pack('<f', float('nan')) * (len(norm.data) // 4)
        self.refused('run', '-m', self.write('nan.gguf', model.bytes()), '-p', 'a', '-n', 1, match='finite')
