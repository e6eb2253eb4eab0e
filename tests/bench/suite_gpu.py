"""`halyard bench` on an emulated card, HALYARD_TEST_DEVICE: a wrong kernel, and a device that vanishes."""
import os

from harness import CliTest

DEVICE = os.environ.get('HALYARD_TEST_DEVICE', '')
TEST = ('bench', '--synth', 'tiny:q8_0', '--device', DEVICE, '-r', 1, '--no-warmup', '-o', 'json')


class Gpu(CliTest):
    def with_env(self, *args, **env):
        return self.call(*TEST, *args, env=dict(os.environ, TMPDIR=self.folder, **env))

    def test_right(self):
        prompt, decode = self.ok(*TEST, '-p', 20, '-n', 2, '-b', 1).json
        for row in (prompt, decode):
            self.assertEqual((row['status'], row['verify']['against'], row['device']), ('ok', 'cpu', DEVICE))
            self.assertTrue(all(k.startswith(DEVICE.split(':')[0] + '.') for k in row['kernels']))
            self.assertGreater(row['roofline']['read_gbps'], 0)
            self.assertGreater(row['roofline']['int8_gflops'], 0)
            self.assertIsNotNone(row['gpu'])
        self.assertTrue(any('gemv' in k for k in decode['kernels']), decode['kernels'])

    def test_wrong_kernel(self):
        result = self.with_env('-p', 20, '-n', 2, HALYARD_EMULATOR_WRONG='gemv')
        self.check_refused(result, 'tg2: logits differ from cpu: KL divergence', code=1)
        prompt, decode = result.json
        self.assertEqual(decode['status'], 'FAILED')
        self.assertIs(decode['verify']['passed'], False)
        self.assertEqual((decode['avg_ts'], decode['median_ts'], decode['samples_ts'], decode['ms_per_token']),
                         (None,) * 4)
        result = self.call('bench', *TEST[1:-2], '-p', 0, '-n', 2, '-o', 'md',
                           env=dict(os.environ, TMPDIR=self.folder, HALYARD_EMULATOR_WRONG='gemv'))
        self.assertEqual(result.code, 1)
        self.assertRegex(result.text, r'\| +tg2 \| FAILED: logits differ')

    def test_lost(self):
        """With every launch from some number on gone, rows before it stay and those behind it are not begun."""
        whole = self.with_env('-p', 8, '-n', '1,2', '--no-verify').json
        self.assertEqual([row['status'] for row in whole], ['ok'] * 3)
        for number in (40, 400, 4000, 40000):
            result = self.with_env('-p', 8, '-n', '1,2', '--no-verify', HALYARD_EMULATOR_LOST=str(number))
            rows = [row['status'] for row in result.json]
            if result.code == 0:
                self.assertGreater(number, 40)
                break
            self.check_refused(result, DEVICE, code=1)
            self.assertIn('error', rows)
            at = rows.index('error')
            self.assertEqual(rows, ['ok'] * at + ['error'] + ['skipped'] * (2 - at))
