"""Model files that are damaged, hostile, or of a kind that this build does not know."""
import json
import os
import random
import struct

import gguf_file
from gguf_file import ARRAY, STRING, string
from harness import CliTest, SANITIZER, data, tinystories

HUGE = 1 << 60
READ = (('inspect', '--tensors'), ('run', '-p', 'a', '-n', '1', '-m'), ('tokenize', '-p', 'a', '-m'))
RUN = (('run', '-p', 'a', '-n', '1', '-m'), ('eval', '-p', 'a b', '-m'), ('bench', '-r', '1', '-p', '1', '-m'),
       ('inspect', '--plan', '-m'))


class Hostile(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tiny = cls('bad').synth('tiny.gguf')
        with open(cls.tiny, 'rb') as file:
            cls.raw = file.read()

    def model(self):
        return gguf_file.Gguf(self.raw)

    def bad(self, content, *match, commands=READ):
        """Every command refuses a file with this content; `quantize` too when reading does."""
        path = self.write('bad.gguf', content)
        for command in commands:
            self.refused(*command, path, match=match, code=1)
        if commands is READ:
            self.refused('quantize', path, 'out.gguf', 'q8_0', match=match, code=1)


class Damaged(Hostile):
    def test_the_tool(self):
        """Taking apart and putting together gives the same bytes."""
        self.assertEqual(self.model().bytes(), self.raw + bytes(-len(self.raw) % 32))

    def test_truncated(self):
        model = self.model()
        places = [0, 1, 3, 4, 7, 8, 15, 16, 20, 23, 24, 25, 31, 32, 50, 100, 1000, model.info_at - 1,
                  model.info_at, model.info_at + 1, model.info_at + 30, model.data_at - 33, model.data_at,
                  model.data_at + 1, (model.data_at + len(self.raw)) // 2, len(self.raw) - 33]
        for size in places:
            with self.subTest(size):
                self.bad(self.raw[:size], r'bad\.gguf', 'truncated|empty|do not fit|no data')

    def test_header(self):
        self.bad(b'PK\3\4' + self.raw[4:], 'not a GGUF file', '50 4b 03 04')
        self.bad(b'GGUF', 'truncated')
        for version in (0, 1, 4, 1000):
            self.bad(b'GGUF' + struct.pack('<I', version) + self.raw[8:], f'version {version}')
        self.bad(b'GGUF' + struct.pack('>I', 3) + self.raw[8:], 'big-endian')
        self.bad(bytes(1000), 'not a GGUF file')
        self.bad(b'\xff' * 1000, 'not a GGUF file')

    def test_counts(self):
        for count in (HUGE, (1 << 64) - 1, 1 << 32, 1 << 21):
            for field in ('tensor_count', 'value_count'):
                model = self.model()
                setattr(model, field, count)
                self.bad(model.bytes(), str(count), 'tensors' if field[0] == 't' else 'keys|values')

    def test_more_than_there_are(self):
        for extra in (1, 1000):
            model = self.model()
            model.value_count = len(model.values) + extra
            self.bad(model.bytes())
            model = self.model()
            model.tensor_count = len(model.tensors) + extra
            self.bad(model.bytes())

    def test_values(self):
        for kind, payload, *match in (
                (13, b'\0' * 8, 'type 13'), (0xffffffff, b'', 'type 4294967295'),
                (STRING, struct.pack('<Q', HUGE), 'truncated', str(HUGE)),
                (STRING, struct.pack('<Q', (1 << 64) - 1), 'truncated'),
                (ARRAY, struct.pack('<IQ', 4, HUGE), 'truncated', str(HUGE * 4)),
                (ARRAY, struct.pack('<IQ', STRING, HUGE), str(HUGE)),
                (ARRAY, struct.pack('<IQ', ARRAY, HUGE), 'truncated|nested|key'),
                (ARRAY, struct.pack('<IQ', 99, 5), 'type 99'),
                (ARRAY, struct.pack('<IQ', ARRAY, 1) * 50 + struct.pack('<IQ', 4, 0), 'nested|deep')):
            model = self.model()
            model.values['odd.key'] = [kind, payload]
            with self.subTest(kind=kind, payload=payload[:12]):
                self.bad(model.bytes(), 'odd.key', *match)

    def test_names(self):
        for name in ('', 'x' * 70000, b'a\0b', b'\xff\xfe', 'line\nbreak'):
            model = self.model()
            values = list(model.values.items())
            raw = self.raw.replace(string(values[0][0]), string(name), 1)
            with self.subTest(str(name[:10])):
                self.bad(raw, 'name')

    def test_alignment(self):
        for value in (0, 1, 3, 33, 1 << 31):
            model = self.model()
            model.set_u32('general.alignment', value)
            self.bad(model.bytes(), 'general.alignment', str(value))

    def test_tensors(self):
        def change(**fields):
            model = self.model()
            tensor = model.tensor('blk.0.attn_q.weight')
            for key, value in fields.items():
                setattr(tensor, key, value)
            return model.bytes()
        name = r'blk\.0\.attn_q\.weight'
        self.bad(change(dims=[256, 0]), name, 'dimension 1 is 0')
        self.bad(change(dims=[0, 256]), name, 'dimension 0 is 0')
        self.bad(change(dims=[]), name, 'rank 0')
        self.bad(change(dims=[256, 256, 1, 1, 1]), name, 'rank 5')
        self.bad(change(dims=[256, HUGE]), name, str(HUGE))
        self.bad(change(dims=[1 << 32, 1 << 31]), name)
        self.bad(change(dims=[255, 256]), name, '255')
        self.bad(change(dims=[256, 100000]), name, 'bytes')
        self.bad(change(offset=7), name, 'offset 7', 'alignment 32')
        self.bad(change(offset=HUGE), name, str(HUGE))
        self.bad(change(offset=(1 << 64) - 32), name)
        self.bad(change(offset=0), 'overlap', name)
        self.bad(change(offset=32), 'overlap', 'token_embd')
        twice = self.model()
        twice.tensor('blk.0.attn_q.weight').name = 'blk.0.attn_k.weight'
        self.bad(twice.bytes(), r'blk\.0\.attn_k\.weight', 'twice')


class Unfit(Hostile):
    """Whole files that are no model this build can run: the name and the numbers are said."""

    def test_missing_tensors(self):
        for name in [t.name for t in self.model().tensors]:
            if name.startswith('blk.0'):
                continue
            model = self.model()
            model.tensors.remove(model.tensor(name))
            if name == 'output.weight':  # the embedding stands in for it
                self.ok('run', '-p', 'a', '-n', 1, '-m', self.write('tied.gguf', model.bytes()))
                os.remove(self.path('tied.gguf'))
                continue
            self.bad(model.bytes(), name.replace('.', r'\.'), commands=RUN[:1])
        for command in RUN:
            model = self.model()
            model.tensors.remove(model.tensor('blk.1.ffn_up.weight'))
            self.bad(model.bytes(), r'blk\.1\.ffn_up\.weight', 'missing|no tensor|lacks', commands=(command,))

    def test_wrong_shapes(self):
        for name in ('output_norm.weight', 'output.weight', 'blk.1.attn_q.weight',
                     'blk.1.attn_k.weight', 'blk.1.attn_v.weight', 'blk.1.attn_output.weight', 'blk.1.ffn_norm.weight',
                     'blk.1.ffn_gate.weight', 'blk.1.ffn_up.weight', 'blk.1.ffn_down.weight'):
            model = self.model()
            tensor = model.tensor(name)
            old, tensor.dims[-1] = tensor.dims[-1], tensor.dims[-1] // 2
            with self.subTest(name):
                self.bad(model.bytes(), name.replace('.', r'\.'), rf'\b{old}\b', rf'\b{old // 2}\b', commands=RUN[:1])
        model = self.model()
        model.tensor('blk.0.attn_q.weight').dims = [256, 64, 4]
        self.bad(model.bytes(), r'blk\.0\.attn_q\.weight', commands=RUN)

    def test_hyper_parameters(self):
        for key, value in (('embedding_length', 0), ('embedding_length', 1 << 31), ('block_count', 0),
                           ('block_count', 3), ('block_count', 0xffffffff), ('attention.head_count', 0),
                           ('attention.head_count', 3), ('attention.head_count_kv', 0),
                           ('attention.head_count_kv', 3), ('attention.head_count', 0xffffffff),
                           ('feed_forward_length', 0), ('feed_forward_length', 77), ('context_length', 0),
                           ('rope.dimension_count', 63), ('rope.dimension_count', 1 << 30),
                           ('attention.key_length', 0), ('attention.key_length', 1 << 31),
                           ('attention.value_length', 32), ('vocab_size', 7)):
            model = self.model()
            model.set_u32('llama.' + key, value)
            with self.subTest(key=key, value=value):
                path = self.write('bad.gguf', model.bytes())
                result = self.call('run', '-p', 'a', '-n', 1, '-m', path, timeout=30)
                if result.code != 0:
                    self.check_refused(result)
                    continue
                # zero may read as "not given"; a size that the tensors decide may be ignored
                self.assertTrue(value == 0 or key in ('vocab_size', 'feed_forward_length'), result)
        for key in ('embedding_length', 'block_count', 'attention.head_count', 'attention.layer_norm_rms_epsilon'):
            model = self.model()
            del model.values['llama.' + key]
            self.bad(model.bytes(), key.replace('.', r'\.'), commands=RUN[:1])
            model = self.model()
            model.set_string('llama.' + key, 'four')
            self.bad(model.bytes(), key.replace('.', r'\.'), 'string', commands=RUN[:1])
        for value in (float('nan'), float('inf'), -1.0):
            for key in ('rope.freq_base', 'attention.layer_norm_rms_epsilon'):
                model = self.model()
                model.values['llama.' + key] = [6, struct.pack('<f', value)]
                self.bad(model.bytes(), commands=RUN[:1])

    def test_vocabulary(self):
        def check(change, *match):
            model = self.model()
            change(model.values)
            path = self.write('bad.gguf', model.bytes())
            for command in (('run', '-p', 'a', '-n', '1', '-m'), ('tokenize', '-p', 'a', '-m')):
                self.refused(*command, path, match=match)

        def setter(key, kind, payload):
            return lambda values: values.__setitem__('tokenizer.ggml.' + key, [kind, payload])
        check(setter('model', STRING, string('runes')), 'runes', 'gpt2')
        check(setter('tokens', ARRAY, struct.pack('<IQ', STRING, 2) + string('a') + string('b')), r'\b2\b')
        check(setter('tokens', ARRAY, struct.pack('<IQ', 4, 2) + bytes(8)), 'tokens')
        check(setter('tokens', 4, bytes(4)), 'tokens')
        check(setter('token_type', ARRAY, struct.pack('<IQ', 5, 3) + bytes(12)), 'token_type')
        check(setter('bos_token_id', 4, struct.pack('<I', 512)), '512')
        check(setter('bos_token_id', STRING, string('one')), 'bos_token_id')
        check(setter('merges', 4, bytes(4)), 'merges')
        check(setter('pre', STRING, string('runes')), 'runes')

    def test_unknown_architecture(self):
        path = data('golden', 'gpt2-F32', 'model.gguf')
        for command in RUN:
            self.refused(*command, path, match=("gpt2", r'\bllama\b', r'\bqwen2\b', r'\bqwen3\b', r'\bqwen3moe\b'))
        model = self.model()
        model.set_string('general.architecture', 'x' * 5000)
        self.bad(model.bytes(), 'xxx', commands=RUN[:1])
        model.values['general.architecture'] = [STRING, string(b'\xff\n\0')]
        self.bad(model.bytes(), 'architecture', commands=RUN[:1])
        del model.values['general.architecture']
        self.bad(model.bytes(), r'general\.architecture', commands=RUN[:1])

    def test_unsupported_type(self):
        path = data('golden', 'llama-slim-IQ1_S-pure', 'model.gguf')
        for command in RUN:
            self.refused(*command, path, match=('IQ1_S', r'\.weight', 'Q4_K'))
        model = self.model()
        model.tensor('blk.0.ffn_up.weight').kind = 9999
        self.bad(model.bytes(), r'blk\.0\.ffn_up\.weight', '9999', commands=RUN[:1])

    def test_missing_shard(self):
        model = self.model()
        for key, value in (('split.no', 0), ('split.count', 3), ('split.tensors.count', 60)):
            model.values[key] = [2, struct.pack('<H', value)]
        self.write('m-00001-of-00003.gguf', model.bytes())
        for command in READ[1:]:
            self.refused(*command, self.path('m-00001-of-00003.gguf'), match='00002-of-00003')


class Corrupted(Hostile):
    """One byte of the file is another one: success, or one clear line; never a signal, never a hang."""

    def sweep(self, name, raw, count, seed, where):
        draw = random.Random(seed)
        path = self.write(name, raw)
        refused = 0
        with open(path, 'r+b', buffering=0) as file:
            for i in range(count):
                at = where(draw)
                value = draw.choice((0, 255, raw[at] ^ 1 << draw.randrange(8), draw.randrange(256)))
                file.seek(at)
                file.write(bytes([value]))
                for command in (('inspect', '--json', path), ('run', '-n', 1, '--ids', '1,2,3', '-t', 1, '-m', path)):
                    result = self.call(*command, timeout=60)
                    with self.subTest(case=i, at=at, value=value, command=command[0]):
                        self.assertGreaterEqual(result.code, 0, f'signal {-result.code}: {result}')
                        if result.code:
                            refused += 1
                            self.check_refused(result, code=1)
                        elif command[0] == 'inspect':
                            json.loads(result.out)
                file.seek(at)
                file.write(raw[at:at + 1])
        return refused

    def test_metadata(self):
        """The first and last 1500 bytes before the data: header, hyper-parameters, tensor declarations."""
        model = self.model()
        ends = (0, 1500), (model.data_at - 1700, model.data_at)
        count = 60 if SANITIZER else 600
        refused = self.sweep('metadata.gguf', self.raw, count, 1, lambda draw: draw.randrange(*draw.choice(ends)))
        self.assertGreater(refused, count // 4)

    def test_anywhere(self):
        model = self.model()
        self.sweep('anywhere.gguf', self.raw, 15 if SANITIZER else 40, 2,
                   lambda draw: draw.randrange(draw.choice((model.data_at, len(self.raw)))))

    def test_trained(self):
        """A vocabulary with scores."""
        with open(tinystories(), 'rb') as file:
            raw = file.read()
        data_at = gguf_file.Gguf(raw).data_at
        self.sweep('trained.gguf', raw, 20 if SANITIZER else 150, 4, lambda draw: draw.randrange(data_at))

    def test_experts(self):
        with open(self.synth('moe.gguf', 'tiny-moe', 'q4_0'), 'rb') as file:
            raw = file.read()
        data_at = gguf_file.Gguf(raw).data_at
        ends = (0, 1500), (data_at - 1800, data_at)
        self.sweep('moe.gguf', raw, 20 if SANITIZER else 150, 3, lambda draw: draw.randrange(*draw.choice(ends)))

