"""Help of every command, `devices`, `inspect`, `verify`, and the options --profile and --validate."""
import json
import re

from harness import CliTest, SANITIZER, data, tinystories

COMMANDS = {
    'run': '-m -p -f --ids -n --temp --top-k --top-p --min-p --typical --repeat-penalty --seed -s --chat -i '
           '--no-bos --json --device -c -t -b -ub --kv-type --numerics --isa --cpu-mask --validate --profile',
    'bench': '-m --synth --device -p -n -pg -d -b -r --time-limit --no-verify --trace --rate --vs --vs-binary --predict '
             '--price -o -oe --json -t -ub --kv-type --numerics -c --isa --cpu-mask',
    'devices': '--json',
    'inspect': '--tensors --graph --dot --plan --json --device -c',
    'tokenize': '-m -p -f --no-bos --special --decode --json',
    'eval': '-m -f -p --ids --kv-type --window --logits --kld --json --device',
    'quantize': '-t f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4',
    'synth': '-o --type --seed --list',
    'verify': '--device --op --kernel --isa --cases --quick --table --json',
}
PASSES = 'canonicalize place fuse select bucket schedule plan_memory emit'.split()


class Help(CliTest):
    def test_commands(self):
        for word in ('--help', '-h', 'help'):
            text = self.ok(word).text
            for name in COMMANDS:
                self.assertRegex(text, rf'(?m)^  {name} +\w')

    def test_options(self):
        for name, options in COMMANDS.items():
            for flag in ('--help', '-h'):
                text = self.ok(name, flag).text
            self.assertTrue(text.startswith(f'usage: halyard {name}'), text)
            for option in options.split():
                self.assertRegex(text, rf'(?<![\w-]){option}(?![\w-])', name)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 160, name)

    def test_version(self):
        self.assertRegex(self.ok('--version').text, r'^halyard \d+\.\d+\.\d+\n$')


class Devices(CliTest):
    def test_json_and_text(self):
        devices = {d['id']: d for d in self.ok('devices', '--json').json}
        for name in ('cpu:0', 'ref:0'):
            self.assertEqual(set(devices[name]), {'id', 'available', 'name', 'arch', 'detail', 'memory_total',
                                                  'memory_free', 'units', 'software', 'bus'})
            self.assertIs(devices[name]['available'], True)
            self.assertGreater(devices[name]['memory_total'], devices[name]['memory_free'])
            self.assertGreater(devices[name]['memory_free'], 1 << 20)
            self.assertGreater(devices[name]['units'], 0)
        self.assertEqual((devices['cpu:0']['software'], devices['ref:0']['software']), (False, True))
        for name, device in devices.items():
            self.assertTrue(device['detail'], name)
            if name.startswith('vulkan:'):
                self.assertRegex(device['arch'], r'^vulkan 1\.\d')
            self.assertRegex(device['bus'] or 'none', r'^(none|[\da-f]{4,8}:[\da-f]{2}:[\da-f]{2}\.[\da-f])$')
        self.assertEqual((devices['cpu:0']['bus'], devices['ref:0']['bus']), (None, None))
        self.assertTrue([name for name in devices if name.startswith('vulkan')], 'neither a device nor a reason')
        text = self.ok('devices').text
        for name in devices:
            self.assertRegex(text, rf'(?m)^{name} ')


class Inspect(CliTest):
    def setUp(self):
        self.model = tinystories()

    def test_metadata(self):
        result = self.ok('inspect', self.model, '--json').json
        self.assertEqual(result['metadata']['general.architecture'], 'llama')
        self.assertEqual(result['metadata']['llama.context_length'], 128)
        self.assertNotIn('tensors', result)
        text = self.ok('inspect', self.model).text
        self.assertRegex(text, r'(?m)^llama\.context_length +128$')
        self.assertEqual(self.ok('inspect', '-m', self.model).text, text)

    def test_tensors(self):
        tensors = {t['name']: t for t in self.ok('inspect', self.model, '--tensors', '--json').json['tensors']}
        self.assertEqual(tensors['token_embd.weight'],
                         {'name': 'token_embd.weight', 'type': 'F32', 'shape': [512, 64], 'bytes': 131072})
        text = self.ok('inspect', self.model, '--tensors').text
        for name in tensors:
            self.assertRegex(text, rf'(?m)^{re.escape(name)} +F32 ')

    def test_files_that_cannot_run(self):
        """Unknown architectures and types can be looked at."""
        self.assertIn('gpt2', self.ok('inspect', data('golden', 'gpt2-F32', 'model.gguf')).text)
        odd = data('golden', 'llama-slim-IQ1_S-pure', 'model.gguf')
        kinds = {t['type'] for t in self.ok('inspect', odd, '--tensors', '--json').json['tensors']}
        self.assertIn('IQ1_S', kinds)

    def test_graph(self):
        graph = self.ok('inspect', self.model, '--graph').text
        for op in ('embed', 'matmul', 'rms_norm', 'rope', 'attention', 'kv_write'):
            self.assertIn(op, graph)
        self.assertEqual(self.ok('inspect', self.model, '--graph=none').text, graph)
        texts = {name: self.ok('inspect', self.model, '--graph=' + name).text for name in PASSES}
        for name, text in texts.items():
            self.assertGreater(len(text), 500, name)
        self.assertLess(texts['fuse'].count('\n'), graph.count('\n'))
        self.assertEqual(len({graph, texts['canonicalize'], texts['fuse'], texts['emit']}), 4)
        for name in PASSES[:3]:  # the graph; from select on there is a program
            self.assertTrue(texts[name].startswith('graph "llama"'), texts[name][:200])
        self.assertRegex(texts['emit'], r'(?s)^program .*cpu\.attention')
        self.refused('inspect', self.model, '--graph=fold', match=('fold', 'canonicalize', 'emit'), code=2)

    def test_dot(self):
        for more in ((), ('--graph=fuse',)):
            dot = self.ok('inspect', self.model, '--dot', *more).text
            self.assertTrue(dot.startswith('digraph'), dot[:100])
            self.assertTrue(dot.rstrip().endswith('}'), dot[-100:])
            self.assertIn('->', dot)

    def test_plan(self):
        for device in ('cpu', 'ref', 'null'):
            text = self.ok('inspect', self.model, '--plan', '--device', device).text
            self.assertIn(device + '.', text)
            self.assertIn('attention', text)
            plan = self.ok('inspect', self.model, '--plan', '--json', '--device', device).json
            self.assertEqual([d['id'] for d in plan['devices']], [device + ':0'])
            self.assertGreaterEqual(plan['devices'][0]['weights'], 260 * 1024 * 4)
            waves = [step['wave'] for step in plan['steps']]
            self.assertEqual(waves, sorted(waves))
            for step in plan['steps']:
                self.assertTrue(step['kernel'].startswith(device + '.'), step)
        larger = self.ok('inspect', self.model, '--plan', '--json', '-c', 1024, warning='1024').json
        smaller = self.ok('inspect', self.model, '--plan', '--json', '-c', 64).json
        self.assertGreater(larger['devices'][0]['state'], smaller['devices'][0]['state'] * 8)
        self.ok('inspect', self.model, '--plan', '--bucket', 0)


class Trace(CliTest):
    def test_trace(self):
        path = self.path('trace.json')
        plain = self.ok('run', '-m', tinystories(), '-p', 'Tom', '-n', 4).text
        for device in ('cpu', 'ref'):
            self.assertEqual(self.ok('run', '-m', tinystories(), '--device', device, '-p', 'Tom', '-n', 4,
                                     '--profile', path).text, plain)
            with open(path, encoding='utf-8') as file:
                trace = json.load(file)
            events = trace['traceEvents'] if isinstance(trace, dict) else trace
            timed = [e for e in events if e.get('ph') == 'X']
            self.assertGreater(len(timed), 4 * 5)
            for event in timed:
                self.assertGreaterEqual(event['dur'], 0)
                self.assertGreaterEqual(event['ts'], 0)
            self.assertTrue(any('attention' in e['name'] for e in timed))

    def test_validate(self):
        for device in ('cpu', 'ref'):
            self.ok('run', '-m', tinystories(), '--device', device, '-p', 'Once upon', '-n', 8, '--validate')

    def test_verbose(self):
        result = self.call('run', '-m', tinystories(), '-p', 'Tom', '-n', 1, '--verbose')
        self.assertEqual(result.code, 0, result)
        for line in result.err.decode().splitlines():
            self.assertRegex(line, r'^halyard: (warning|info|debug): \S')
            self.assertNotIn('memory', line)


class Verify(CliTest):
    def test_one_op(self):
        result = self.ok('verify', '--device', 'cpu', '--op', 'rope', '--quick', '--json').json
        self.assertEqual((result['failures'], result['unsupported']), (0, 0))
        self.assertGreaterEqual(len(result['kernels']), 3)
        for kernel in result['kernels']:
            self.assertTrue(kernel['kernel'].startswith('cpu.rope.'), kernel)
            self.assertTrue(0 < kernel['worst'] <= 1, kernel)
        text = self.ok('verify', '--op', 'rms_norm', '--quick', '--device', 'ref').text
        self.assertRegex(text, r'(?m)^ok +ref\.')
        table = self.ok('verify', '--op', 'rope', '--quick', '--table', '--kernel', 'generic').text
        self.assertRegex(table, r'(?m)^\| rope \| cpu\.rope\.f32\.generic \| \d+ \| \d\.\d+ \|$')

    def test_bench(self):
        result = self.ok('verify', '--bench', '--op', 'matmul', '--type', 'q4_0', '--shape', '64,256,1', '-t', 1,
                         '--device', 'cpu', '--json').json
        self.assertLessEqual({'write', 'read', 'f32'}, set(result['peaks']))
        self.assertLessEqual(set(result['peaks']), {'write', 'read', 'f32', 'f16', 'bf16', 'int8'})
        for rate in result['peaks'].values():
            self.assertGreater(rate, 0)
        self.assertEqual(len(result['rows']), 1)
        self.assertIn(result['rows'][0]['limit'], result['peaks'])
        self.assertGreater(result['rows'][0]['share'], 0)
        rows = self.ok('verify', '--bench', '--op', 'attention', '--type', 'f16', '--shape', '4,2,32,64,8', '-t', 1,
                       '--device', 'cpu', '--json').json['rows']
        fast = [row for row in rows if re.search(r'\.(amx|dot\.)', row['kernel'])]
        self.assertEqual(len(rows) - len(fast), 1, rows)  # what the default runs, whatever numerics=fast might
        for device in ('ref', 'null'):  # no peaks
            result = self.ok('verify', '--bench', '--op', 'add', '--shape', '64,1', '--device', device, '--json').json
            self.assertEqual(result['peaks'], {})
            self.assertNotIn('limit', result['rows'][0])
        self.refused('verify', '--bench', '--device', 'toaster', match='toaster', code=1)

    def test_onnx_cases(self):
        cases = data('onnx-nodes')
        result = self.call('verify', '--cases', cases, '--json')
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.json['failed'], 0)
        self.assertGreater(result.json['passed'], 30)
