"""Rows as `halyard bench` writes them (docs/bench-schema.json), for the tests: complete, with plausible figures."""
import copy
import statistics


def percentiles(p50, p90, p99, count):
    return {'p50': p50, 'p90': p90, 'p99': p99, 'count': count}


# Decode of a synthetic model on a CPU; every field of the schema is here.
PLAIN = {
    'build_commit': '9315f7b', 'build_number': 123, 'cpu_info': 'AMD EPYC 9B14', 'gpu_info': '', 'backends': 'CPU',
    'model_filename': 'synthetic llama-3.2-1b:q4_0', 'model_type': 'llama 1B Q4_0', 'model_size': 695353344,
    'model_n_params': 1235814400, 'n_batch': 512, 'n_ubatch': 512, 'n_threads': 2, 'cpu_mask': '0x0',
    'cpu_strict': False, 'poll': 50, 'type_k': 'f16', 'type_v': 'f16', 'n_gpu_layers': 0, 'n_cpu_moe': 0,
    'split_mode': 'layer', 'main_gpu': 0, 'no_kv_offload': False, 'flash_attn': True, 'devices': 'cpu:0',
    'tensor_split': '0.00', 'tensor_buft_overrides': 'none', 'use_mmap': True, 'use_direct_io': False,
    'embeddings': False, 'no_op_offload': 0, 'no_host': False, 'n_prompt': 0, 'n_gen': 128, 'n_depth': 0,
    'test_time': '2026-11-26T15:10:00Z', 'avg_ns': None, 'stddev_ns': None, 'avg_ts': None, 'stddev_ts': None,
    'samples_ns': None, 'samples_ts': None,
    'schema': 'halyard-bench/1', 'engine': 'halyard', 'status': 'ok', 'reason': None, 'flags': [], 'test': 'tg128',
    'kind': 'tg', 'n_parallel': 1, 'repetitions': 5, 'device': 'cpu:0', 'median_ts': None, 'cv': None,
    'ms_per_token': None, 'ttft_ms': None, 'itl_ms': percentiles(13.2, 13.9, 15.25, 640),
    'samples_itl_ms': [13.1, 13.2, 13.9, 15.25],
    'bytes_per_token': {'weights': 695353344, 'kv': 2097152, 'activations': 524288, 'total': 697974784},
    'flops_per_token': 2471628800, 'gbps': 52.9, 'gflops': 187.2,
    'roofline': {'read_gbps': 60.9, 'write_gbps': 30.1, 'f32_gflops': 229.0, 'f16_gflops': None, 'bf16_gflops': 450.5,
                 'int8_gflops': 889.25, 'bound': 'read', 'limit_ts': 87.25, 'percent': 86.8},
    'roofline_reason': None,
    'memory': {'resident_peak': 812646400, 'device_peak': 812646400,
               'plan': [{'device': 'cpu:0', 'weights': 695353344, 'state': 33554432, 'activations': 16777216,
                         'step': 65536, 'host': 1048576}]},
    'load_ms': 160.5,
    'energy': {'joules_per_token': None, 'watts': None, 'source': None, 'reason': 'no /sys/class/powercap'},
    'verify': {'against': 'ref', 'tokens': 32, 'kl_mean': 1e-06, 'kl_max': 1.25e-05, 'top1': 1.0, 'kl_limit': 0.01,
               'top1_limit': 0.9, 'passed': True, 'reason': None},
    'kernels': ['cpu.matmul.q4_0.avx512vnni', 'cpu.attention.f16'],
    'cost': None, 'prediction': {'ts': 74.5, 'ratio': 1.016}, 'serve': None,
    'model': {'name': 'synthetic llama-3.2-1b', 'arch': 'llama', 'type': 'Q4_0', 'path': None,
              'sha256': '5b' * 32, 'layers': 16, 'embedding': 2048, 'heads': 32, 'kv_heads': 8, 'head_dim': 64,
              'vocab': 128256, 'context': 131072, 'synth': 'llama-3.2-1b:q4_0'},
    'machine': {'cpu': {'model': 'AMD EPYC 9B14', 'threads': 2, 'frequency': {'governor': 'performance'}},
                'memory': {'total_bytes': 8589934592}, 'host': {'virtualization': 'kvm', 'hypervisor': True}},
    'gpu': None,
    'device_info': {'id': 'cpu:0', 'name': 'AMD EPYC 9B14', 'arch': 'avx512-vnni-bf16', 'detail': '2 threads',
                    'memory_total': 8589934592, 'units': 2, 'software': False},
    'build': {'version': '0.1.0', 'commit': '9315f7b', 'compiler': 'gcc 12.2.0', 'flags': '-O3',
              'backends': ['cpu', 'ref', 'null']},
    'options': {'numerics': 'invariant', 'kv_type': 'f16', 'isa': None, 'threads': 2, 'cpu_mask': None, 'batch': 512,
                'ctx': 4096, 'fallback': False, 'graphs': True, 'validate': False, 'profile': False, 'warmup': True},
    'argv': ['bench', '--synth', 'llama-3.2-1b:q4_0'],
}


def row(samples=(75.5, 75.75, 76.0, 76.25, 76.5), **changes):
    """A row with these tokens/s. changes: fields, `a__b` for the member b of a."""
    made = copy.deepcopy(PLAIN)
    for name, value in changes.items():
        *outer, last = name.split('__')
        inside = made
        for part in outer:
            inside = inside[part]
        inside[last] = value
    samples = [float(f'{s:.9g}') for s in samples]
    tokens = made['n_prompt'] + made['n_gen']
    nanoseconds = [round(1e9 * tokens / s) for s in samples]
    sd = statistics.stdev if len(samples) > 1 else lambda values: 0
    figures = {
        'repetitions': len(samples), 'samples_ts': samples, 'samples_ns': nanoseconds,
        'avg_ts': statistics.fmean(samples), 'stddev_ts': sd(samples), 'median_ts': statistics.median(samples),
        'avg_ns': round(statistics.fmean(nanoseconds)), 'stddev_ns': round(sd(nanoseconds)),
        'cv': sd(samples) / statistics.fmean(samples), 'ms_per_token': statistics.median(nanoseconds) * 1e-6 / tokens,
    }
    for name, value in figures.items():
        if name not in changes:  # as many digits as are printed
            made[name] = float(f'{value:.9g}') if isinstance(value, float) else value
    return made


def prompt_row(samples=(288.0, 290.0, 291.5, 292.0, 296.0), **changes):
    """The same of prefill, with what only prefill has."""
    fields = dict(n_prompt=512, n_gen=0, test='pp512', kind='pp', ttft_ms=percentiles(1755.5, 1760.0, 1777.75, 5),
                  itl_ms=None, samples_itl_ms=None, roofline__bound='int8', roofline__percent=62.0, gbps=9.5,
                  gflops=560.25)
    fields.update(changes)
    return row(samples, **fields)
