#!/usr/bin/env python3
"""Rows of `halyard bench` as a real run makes them (schema halyard-bench/1), for tests of what reads rows.

  make_rows.py [report|plain|many]   prints a JSON array. report: 22 rows of two models, two devices, depths,
                                     batches, serving, and what can go wrong; plain: one model and device,
                                     two rows; many: 10 models on 4 devices, 80 rows

Speeds follow from the bytes, the operations and the devices' peaks below, with a little fixed noise.
"""
import json
import random
import sys

HOSTILE = '</script><img src=x onerror=alert(1)>'
# name: type, parameters, bytes of a weight, layers, width of keys and values together, context
MODELS = {
    'llama-3.2-1b': ('Q4_0', 1235814400, 0.5625, 16, 1024, 131072),
    'qwen3-4b' + HOSTILE: ('Q8_0', 4022468096, 1.0625, 36, 2048, 40960),
}
SMALL, LARGE = MODELS
MODELS.update({f'family-{i}-{i}b': ('Q4_K', i * 10 ** 9, 0.6, 32, 2048, 32768) for i in range(3, 19, 2)})
# id: name, peaks in G/s as in a row's roofline, share of them reached, watts, dollars per hour
DEVICES = {
    'cpu:0': ('AMD EPYC 9B14', (60.9, 30.1, 229.0, None, 450.0, 889.0), 0.86, None, 0.21),
    'cuda:0': ('NVIDIA H100 80GB HBM3', (3010.0, 2890.0, 51200.0, 781000.0, 779000.0, 1540000.0), 0.64, 412.0, 2.49),
    'vulkan:0': ('Card 0', (905.0, 880.0, 15300.0, 234000.0, 233000.0, 462000.0), 0.64, 300.0, 0.5),
    'vulkan:1': ('Card 1', (2104.0, 2000.0, 35900.0, 546000.0, 546000.0, 1077000.0), 0.64, 350.0, 1.2),
}
REPORTED = ('cpu:0', 'cuda:0')  # the devices of report()
ROOFS = ('read_gbps', 'write_gbps', 'f32_gflops', 'f16_gflops', 'bf16_gflops', 'int8_gflops')
FLAT = {
    'build_commit': '9315f7b', 'build_number': 123, 'cpu_info': 'AMD EPYC 9B14', 'gpu_info': '', 'backends': 'CPU',
    'n_batch': 512, 'n_ubatch': 512, 'n_threads': 2, 'cpu_mask': '0x0', 'cpu_strict': False, 'poll': 50,
    'type_k': 'f16', 'type_v': 'f16', 'n_gpu_layers': 0, 'n_cpu_moe': 0, 'split_mode': 'layer', 'main_gpu': 0,
    'no_kv_offload': False, 'flash_attn': True, 'devices': 'cpu:0', 'tensor_split': '0.00',
    'tensor_buft_overrides': 'none', 'use_mmap': True, 'use_direct_io': False, 'embeddings': False,
    'no_op_offload': 0, 'no_host': False, 'test_time': '2026-11-26T15:10:00Z',
}
OURS = ('reason flags n_parallel repetitions device median_ts cv ms_per_token ttft_ms itl_ms samples_itl_ms '
        'bytes_per_token flops_per_token gbps gflops roofline roofline_reason memory load_ms energy verify kernels '
        'cost prediction serve model machine gpu device_info build options argv').split()


def quantiles(samples):
    ordered = sorted(samples)
    pick = {f'p{p}': ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in (50, 90, 99)}
    return dict(pick, count=len(ordered))


def record(row, model, device):
    """What is the same for every row of a model on a device."""
    kind, params, weight, layers, kv, context = MODELS[model]
    gpu = device != 'cpu:0'
    row.update(
        model={'name': 'synthetic ' + model, 'arch': model.split('-')[0], 'type': kind, 'path': None,
               'sha256': '5c0ffee' * 9 + '5', 'layers': layers, 'embedding': kv * 2, 'heads': 32, 'kv_heads': 8,
               'head_dim': kv // 16, 'vocab': 128256, 'context': context, 'synth': f'{model}:{kind.lower()}'},
        machine={'cpu': {'model': 'AMD EPYC 9B14', 'isa': ['avx2', 'avx512', 'vnni', 'bf16'], 'cores': 2},
                 'memory': {'total': 25276514304}, 'governor': None, 'virtualisation': 'kvm', 'os': 'Linux 6.1'},
        gpu={'driver': '570.86', 'sm_mhz': 1980, 'memory_mhz': 2619} if gpu else None,
        device_info={'id': device, 'name': DEVICES[device][0], 'arch': 'sm_90' if gpu else 'avx512-vnni-bf16',
                     'detail': '', 'memory_total': 85e9 if gpu else 25276514304, 'units': 132 if gpu else 2,
                     'software': False},
        build={'version': '0.1.0', 'commit': '9315f7b', 'compiler': 'gcc 12.2.0', 'flags': '-O3',
               'backends': ['cpu', 'cuda', 'ref']},
        options={'numerics': 'invariant', 'kv_type': 'f16', 'isa': None, 'threads': 2, 'batch': 512, 'ctx': 8192},
        kernels=[f"{device[:-2]}.matmul.{kind.lower()}.{'mma' if gpu else 'avx512vnni'}",
                 f'{device[:-2]}.attention.f16'],
        argv=['bench', '--synth', f'{model}:{kind.lower()}', '-d', '0,1024,4096', '--device', 'all'],
        load_ms=160.25, energy={'joules_per_token': None, 'watts': None, 'source': None, 'reason': 'no counter'},
        verify={'against': 'ref', 'tokens': 32, 'kl_mean': 1.25e-6, 'kl_max': 3e-5, 'top1': 1.0, 'kl_limit': 0.01,
                'top1_limit': 0.9, 'passed': True, 'reason': None})
    row.update(devices=device, gpu_info=DEVICES[device][0] if gpu else '', backends='CUDA' if gpu else 'CPU')


def empty(model, kind, size, depth, parallel):
    quant, params, weight = MODELS[model][:3]
    test = f'{kind}{size}' + (f' @ d{depth}' if depth else '') + (f' x {parallel}' if parallel > 1 else '')
    row = dict(FLAT, model_filename='synthetic ' + model, model_n_params=params, model_size=int(params * weight),
               model_type=f"{model.split('-')[0]} {params / 1e9:.0f}B {quant}", n_prompt=size if kind == 'pp' else 0,
               n_gen=size if kind == 'tg' else 0, n_depth=depth, avg_ns=None, stddev_ns=None, avg_ts=None,
               stddev_ts=None, samples_ns=None, samples_ts=None)
    row.update(dict.fromkeys(OURS), schema='halyard-bench/1', engine='halyard', status='ok', test=test, kind=kind,
               n_parallel=parallel, flags=[])
    return row


def speeds(row, rng, ts, sd, tokens):
    samples = [rng.gauss(ts, ts * sd) for _ in range(5)]
    mean = sum(samples) / 5
    deviation = (sum((s - mean) ** 2 for s in samples) / 4) ** 0.5
    row.update(samples_ts=samples, samples_ns=[int(tokens / s * 1e9) for s in samples], avg_ts=mean,
               stddev_ts=deviation, median_ts=sorted(samples)[2], cv=deviation / mean, repetitions=5,
               avg_ns=int(tokens / mean * 1e9), stddev_ns=int(tokens / mean * 1e9 * deviation / mean))


def timed(rng, model, device, kind, size, depth=0, parallel=1, noise=0.006):
    row = empty(model, kind, size, depth, parallel)
    record(row, model, device)
    _, params, weight, layers, kv, _ = MODELS[model]
    _, peaks, share, watts, price = DEVICES[device]
    together = min(size, 512) if kind == 'pp' else parallel  # tokens that share a pass over the weights
    moved = {'weights': params * weight / together, 'kv': depth * layers * kv * 2 + 1,
             'activations': layers * kv * 6.0}
    if kind == 'pp':
        moved['kv'] = moved['kv'] / together + layers * kv
    total = moved['total'] = sum(moved.values())
    flops = 2.0 * params + 4.0 * depth * layers * kv
    peak = peaks[5] if peaks[3] is None else peaks[3]
    limit = 1e9 / max(total / peaks[0], flops / peak)
    if total / peaks[0] > flops / peak:
        bound = 'read'
    else:
        bound = 'int8' if peaks[3] is None else 'f16'
    reached = limit * share * (0.72 if kind == 'pp' else 1) * rng.uniform(0.95, 1.0) * 0.98 ** parallel
    speeds(row, rng, reached, noise, size * parallel)
    ts = row['median_ts']
    step = 1000 * parallel / ts
    if kind == 'tg':
        row['samples_itl_ms'] = [step * (1 + abs(rng.gauss(0, noise)) + (rng.random() < 0.02) * rng.uniform(0.1, 0.6))
                                 for _ in range(256)]
        row['itl_ms'] = quantiles(row['samples_itl_ms'])
    else:
        row['ttft_ms'] = quantiles([1000 * size / s for s in row['samples_ts']])
    size_of = int(params * weight)
    plan = {'device': device, 'weights': size_of, 'state': 8192 * layers * kv * 2 * parallel // 4,
            'activations': 48000000, 'step': 2000000, 'host': 9000000}
    row.update(ms_per_token=step, bytes_per_token=moved, flops_per_token=flops, gbps=total * ts / 1e9,
               gflops=flops * ts / 1e9, device=device,
               roofline=dict(zip(ROOFS, (p and p * rng.uniform(0.99, 1.01) for p in peaks)), bound=bound,
                             limit_ts=limit, percent=100 * ts / limit),
               memory={'resident_peak': int(size_of * 1.09) if device == 'cpu:0' else 612000000,
                       'device_peak': None if device == 'cpu:0' else int(size_of * 1.06), 'plan': [plan]},
               cost={'price_per_hour': price, 'usd_per_million_in': price / ts / 0.0036 if kind == 'pp' else None,
                     'usd_per_million_out': price / ts / 0.0036 if kind == 'tg' else None},
               flags=['noisy'] if row['cv'] > 0.03 else [])
    predicted = limit * share * (0.75 if kind == 'pp' else 0.97)
    row['prediction'] = {'ts': predicted, 'ratio': ts / predicted} if parallel == 1 else None
    if watts:
        row['energy'] = {'joules_per_token': watts / ts, 'watts': watts, 'source': 'nvml', 'reason': None}
    return row


MEASURED = ('avg_ns stddev_ns avg_ts stddev_ts samples_ns samples_ts median_ts cv ms_per_token ttft_ms itl_ms '
            'samples_itl_ms gbps gflops prediction cost').split()


def broken(row, status, reason):
    """As bench writes a row that must not show a speed."""
    row.update(dict.fromkeys(MEASURED), status=status, reason=reason)
    row['roofline'] = row['roofline'] and dict(row['roofline'], percent=None)
    if status == 'FAILED':
        row['verify'].update(passed=False, top1=0.31, kl_mean=0.84, kl_max=4.1, reason=reason)
    return row


def imported(rng, kind, size, ts):
    """llama-bench's fields; everything else is null."""
    row = empty(SMALL, kind, size, 0, 1)
    speeds(row, rng, ts, 0.01, size)
    row.update(engine='llama.cpp', status='imported', flags=None, model_filename='models/llama-3.2-1b-q4_0.gguf',
               build_commit='b1234567', build_number=6123, repetitions=None, median_ts=None, cv=None)
    return row


def served(rng):
    row = timed(rng, SMALL, 'cuda:0', 'tg', 128, parallel=8)
    latency = [rng.lognormvariate(0.6, 0.4) * 400 for _ in range(32)]
    row.update(test='serve chat', kind='serve', n_prompt=0, n_gen=0, roofline=None, roofline_reason='a mix of shapes',
               bytes_per_token=None, flops_per_token=None, gbps=None, gflops=None, prediction=None, cost=None,
               ttft_ms=quantiles([v / 9 for v in latency]),
               serve={'requests': 32, 'finished': 32, 'rate': 2.0, 'tokens_in': 14210, 'tokens_out': 4096,
                      'trace': 'chat', 'e2e_ms': quantiles(latency),
                      'queue_ms': quantiles([v / 40 for v in latency])})
    return row


def report():
    rng, small, large, rows = random.Random(6), SMALL, LARGE, []
    for device in REPORTED:
        rows += [timed(rng, small, device, 'pp', 512, depth) for depth in (0, 4096)]
        rows += [timed(rng, small, device, 'tg', 128, depth) for depth in (0, 1024, 4096)]
        rows += [timed(rng, small, device, 'tg', 128, 0, parallel) for parallel in (4, 16)]
    rows[4] = timed(rng, small, 'cpu:0', 'tg', 128, 4096, noise=0.05)
    rows += [timed(rng, large, 'cpu:0', 'pp', 512), timed(rng, large, 'cpu:0', 'tg', 128)]
    rows.append(broken(timed(rng, large, 'cuda:0', 'pp', 512), 'FAILED', 'top-1 agreement 0.31 is below 0.9'))
    rows.append(broken(timed(rng, large, 'cuda:0', 'tg', 128), 'error', 'cuda:0 vanished: ' + HOSTILE))
    rows.append(broken(empty(large, 'tg', 128, 32768, 1), 'skipped', '--time-limit was reached'))
    return rows + [served(rng), imported(rng, 'pp', 512, 236.4), imported(rng, 'tg', 128, 61.3)]


def many():
    rng = random.Random(7)
    return [timed(rng, model, device, kind, size) for model in MODELS for device in DEVICES
            for kind, size in (('pp', 512), ('tg', 128))]


def plain():
    rng = random.Random(8)
    return [timed(rng, SMALL, 'cpu:0', 'pp', 512), timed(rng, SMALL, 'cpu:0', 'tg', 128)]


SETS = {'report': report, 'plain': plain, 'many': many}

if __name__ == '__main__':
    name = sys.argv[1] if len(sys.argv) > 1 else 'report'
    if name not in SETS:
        sys.exit(__doc__)
    json.dump(SETS[name](), sys.stdout, indent=1)
