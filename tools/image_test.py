#!/usr/bin/env python3
"""Checks the container image that `tools/dev image` made, and runs it: one PASS or FAIL line for each check.

  tools/dev image-test [--target vulkan] [ARCHIVE]    build-image/halyard.oci.tar (halyard-vulkan.oci.tar)

What runs has a read-only root, no capabilities, no network, bounds on memory and processes, and some uid with gid 0.
Needs podman and runc (tools/dev setup image), and namespaces; with build/tests/emulator (tools/dev test) drivers of the
host are tried too, stand-ins of CUDA's and HIP's. Exit code 1 if a check failed.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOST_BYTES = 60_000_000  # of all layers, compressed
BUILD_FOLDER = '/halyard-build'  # containers/Containerfile
UID = 1000650000 if os.geteuid() == 0 else 12345  # as OpenShift gives; without root there are fewer
LABELS = ('title description version revision created source url documentation licenses vendor base.name').split()
MAY_BE_EMPTY = ('source', 'url', 'revision')  # nobody said where, or no git
RUNTIME = ['--runtime', 'runc'] if shutil.which('runc') else []
LIMITS = ['--rm', '--network=none', '--read-only', '--read-only-tmpfs=false', '--cap-drop=all',
          '--security-opt=no-new-privileges', '--memory=2g', '--pids-limit=64', '--ulimit=nofile=1024:1024',
          '--ulimit=nproc=1024:1024', f'--user={UID}:0']
TMP = '--tmpfs=/tmp:rw,size=256m,mode=1777'
SECRET = re.compile(r'(?i)token|secret|passw|credential|api_?key|proxy')

passed, failed, skipped = 0, 0, 0


def check(name, found):
    """`found` is None or '' when all is well, otherwise what is wrong."""
    global passed, failed
    if found:
        failed += 1
        print(f'FAIL {name}: {found}', flush=True)
    else:
        passed += 1
        print(f'PASS {name}', flush=True)


def skip(name, reason):
    global skipped
    skipped += 1
    print(f'SKIP {name}: {reason}', flush=True)


# ---- the archive ---------------------------------------------------------------------------------------


class Image:
    """An OCI archive of one image: its configuration, and its files without unpacking them anywhere."""

    def __init__(self, path):
        with tarfile.open(path) as archive:
            def blob(digest):
                return archive.extractfile('blobs/' + digest.replace(':', '/')).read()

            index = json.loads(archive.extractfile('index.json').read())
            manifest = json.loads(blob(index['manifests'][0]['digest']))
            self.whole = json.loads(blob(manifest['config']['digest']))
            self.compressed = manifest['config']['size'] + sum(layer['size'] for layer in manifest['layers'])
        self.config = self.whole['config']
        self.members, self.content = {}, {}
        with tempfile.TemporaryDirectory(prefix='halyard-image-') as folder:  # Python's tarfile does not know zstd
            subprocess.run(['skopeo', 'copy', '--quiet', '--dest-decompress', 'oci-archive:' + path, 'dir:' + folder],
                           check=True)
            with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as file:
                for layer in json.load(file)['layers']:
                    self.read_layer(os.path.join(folder, layer['digest'].split(':')[1]))

    def read_layer(self, file):
        with tarfile.open(file) as layer:
            for member in layer:
                path = '/' + member.name.strip('./')
                folder, name = os.path.split(path)
                if name.startswith('.wh.'):  # removed by this layer
                    gone = os.path.join(folder, name[4:])
                    self.members.pop(gone, None)
                    self.content.pop(gone, None)
                    continue
                self.members[path] = member
                if member.isfile():
                    self.content[path] = layer.extractfile(member).read()

    def libraries(self):
        """Paths of everything that has the format of a program or library."""
        return sorted(path for path, data in self.content.items() if data.startswith(b'\x7fELF'))


def wrong_labels(image):
    labels, wrong = image.config.get('Labels') or {}, []
    for name in LABELS:
        value = labels.get('org.opencontainers.image.' + name)
        if value is None or not value and name not in MAY_BE_EMPTY:
            wrong.append(name)
    return ' '.join(wrong)


def wrong_modes(image):
    wrong = []
    for path, member in image.members.items():
        bits = 0o022 if member.isfile() or path != '/tmp' else 0
        if not member.issym() and member.mode & (0o6000 | bits):
            wrong.append(f'{path} {member.mode:o}')
        if member.uid or member.gid:
            wrong.append(f'{path} belongs to {member.uid}:{member.gid}')
    return ', '.join(wrong)


def check_archive(image, target):
    config = image.config
    if target == 'halyard':
        size = f'{image.compressed} bytes, allowed are {MOST_BYTES}'
        check('size: at most 60 MB compressed', image.compressed > MOST_BYTES and size)
    check('labels', wrong_labels(image))
    check('user is a number and not root', None if re.fullmatch(r'[1-9]\d*(:\d+)?', config.get('User', '')) else
          repr(config.get('User')))
    check('entrypoint is halyard, without a shell', config.get('Entrypoint') != ['halyard'] and config.get('Entrypoint'))
    check('no file is writable for others, setuid, or not of root', wrong_modes(image))
    programs = [path for path in image.members if re.match(r'/usr/s?bin/.', path) and path != '/usr/bin/halyard']
    check('no program but halyard', ' '.join(programs))
    check('kernels for every backend', wrong_kernels(image))
    check_documents(image)
    check_leaks(image)


def wrong_kernels(image):
    """What containers/compile.sh wrote about the binary says "none" or "False" where something is missing."""
    lines = image.content.get('/usr/share/doc/halyard/build.txt', b'').decode().splitlines()
    missing = [line.strip() for line in lines if re.search(r': (none|False|off)', line)]
    return ', '.join(missing) if len(lines) > 5 else f'build.txt: {lines}'


def check_documents(image):
    with open(os.path.join(ROOT, 'LICENSE'), 'rb') as file:
        licence = file.read()
    check('licence of halyard', image.content.get('/usr/share/doc/halyard/LICENSE') != licence and 'missing')
    packages = image.content.get('/usr/share/doc/packages', b'').decode().split('\n')[:-1]
    without = [name for name in (line.split()[0] for line in packages)
               if f'/usr/share/doc/{name}/copyright' not in image.content]
    check('licences of the libraries', ' '.join(without) if packages else 'no list of packages')
    entry = re.search(rb'(?m)^halyard:x:65532:', image.content.get('/etc/passwd', b''))
    check('the user has a name', not entry and 'no line in /etc/passwd')


def check_leaks(image):
    words = {BUILD_FOLDER.encode(), ROOT.encode()}
    home = os.path.expanduser('~')
    words |= {word.encode() for word in (home, socket.gethostname()) if len(word) > 5 and word != '/root'}
    found = [f'{word.decode()} in {path}' for path, data in image.content.items() for word in words if word in data]
    check('no path or name of the machine that built it', ', '.join(found))
    text = json.dumps(image.whole)
    names = [word.decode() for word in words if word.decode() in text]
    names += SECRET.findall(' '.join(image.config.get('Env') or []) + ' '.join(
        step.get('created_by', '') for step in image.whole.get('history', [])))
    check('no secret, proxy or path in the configuration', ' '.join(names))


# ---- running -------------------------------------------------------------------------------------------


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def wrong(self, want=0):
        return self.code != want and f'exit code {self.code}: {(self.err or self.out).strip()[-300:]}'


def podman(*args, timeout=300):
    return Result(subprocess.run(['podman', *RUNTIME, *args], capture_output=True, text=True, timeout=timeout))


class Runner:
    def __init__(self, image):
        self.image = image

    def run(self, *args, options=(TMP,)):
        return podman('run', *LIMITS, *options, self.image, *args)

    def json(self, *args, options=(TMP,)):
        """The value printed, and what is wrong."""
        result = self.run(*args, options=options)
        if result.code:
            return None, result.wrong()
        try:
            return json.loads(result.out), None
        except ValueError:
            return None, f'not JSON: {result.out[:200]!r}'


def check_closure(runner, image):
    loader = next(path for path in image.members if re.search(r'/ld-linux[^/]*$', path))
    missing = []
    for path in image.libraries():
        if path == loader:
            continue
        result = runner.run('--list', path, options=('--entrypoint', loader))
        if result.code or 'not found' in result.out:
            missing.append(f'{path}: {(result.out + result.err).strip()[-200:]}')
    check(f'the loader finds all libraries of {len(image.libraries())} programs and libraries', ', '.join(missing))


def wrong_bench(rows, device):
    for row in rows:
        if row['device'] != device or not row['avg_ts'] > 0:
            return f'{row["test"]} on {row["device"]}: {row["avg_ts"]} tokens/s'
    return len(rows) != 2 and f'{len(rows)} rows'


def check_bench(runner, device='cpu:0', options=(TMP,)):
    rows, wrong = runner.json('bench', '--synth', 'tiny:q4_0', '-p', '16', '-n', '4', '-r', '2', '--json', '--device',
                              device, options=options)
    check(f'bench on {device}', wrong or wrong_bench(rows, device))


def check_verify(runner, device, options=(TMP,)):
    report, wrong = runner.json('verify', '--quick', '--op', 'rms_norm', '--json', '--device', device, options=options)
    if not wrong and (report['failures'] or not report['cases']):
        wrong = json.dumps(report)[:300]
    check(f'verify on {device}', wrong)


def check_devices(runner, target):
    devices, wrong = runner.json('devices', '--json')
    if wrong:
        return check('devices', wrong)
    ids = {device['id'].split(':')[0]: device for device in devices}
    wrong = [name for name in ('cpu', 'vulkan', 'cuda', 'hip') if name not in ids]
    wrong += [f'{name}: {device["detail"]}' for name, device in ids.items() if 'this build' in device['detail']]
    if not ids['cpu']['available'] or target == 'vulkan' and not ids['vulkan']['available']:
        wrong.append(json.dumps(ids))
    check('devices: every backend is in the binary', ', '.join(wrong))
    result = runner.run()
    check('without arguments it lists the devices', result.wrong() or 'cpu:0' not in result.out and result.out)


def a_model(folder, runner):
    """A model that can say something, or random weights made by the image."""
    data = os.environ.get('HALYARD_TEST_DATA', os.path.join(ROOT, '../shared/data'))
    source = os.path.join(data, 'models/tinystories-260k/stories260K.gguf')
    path = os.path.join(folder, 'model.gguf')
    if os.path.exists(source):
        shutil.copyfile(source, path)
        return 'stories260K'
    os.chmod(folder, 0o777)
    result = runner.run('synth', 'tiny', '-o', '/models/model.gguf', options=(f'--volume={folder}:/models',))
    check('synth into a folder of the host', result.wrong())
    return 'synthetic tiny'


def check_run(runner, folder):
    name = a_model(folder, runner)
    mount = (f'--volume={folder}:/models:ro', TMP)
    answer, wrong = runner.json('run', '-m', '/models/model.gguf', '-p', 'Once upon a time', '-n', '8', '--temp', '0',
                                '--json', options=mount)
    check(f'run of a mounted model ({name})', wrong or len(answer['ids']) != 8 and json.dumps(answer))


def check_no_tmp(runner):
    result = runner.run('bench', '--synth', 'tiny:q4_0', options=())
    clear = result.code == 1 and re.fullmatch(r'halyard bench: /tmp/[^\n]*Read-only file system[^\n]*\n', result.err)
    check('without a writable /tmp: one clear line', not clear and f'{result.code}: {result.err}')


def status_of(container):
    """Fields of /proc/PID/status of a running container."""
    pid = podman('inspect', '--format={{.State.Pid}}', container).out.strip()
    with open(f'/proc/{pid}/status', encoding='utf-8') as file:
        return dict(line.rstrip('\n').split(':\t', 1) for line in file if ':\t' in line)


def once_it_listens(container):
    """The status when there is a handler of SIGTERM, or after half a minute."""
    for _ in range(300):
        status = status_of(container)
        if int(status['SigCgt'], 16) >> (signal.SIGTERM - 1) & 1:
            break
        time.sleep(0.1)
    return status


def check_stop(runner):
    """A process that SIGTERM does not end is killed after 2 s, and says 137."""
    for name, want in (('SIGTERM', '143'), ('SIGINT', '130')):
        detached = [option for option in LIMITS if option != '--rm'] + ['--detach', f'--stop-signal={name}', TMP]
        started = podman('run', *detached, runner.image, 'bench', '--synth', 'tiny:q4_0', '-p', '0', '-n', '500',
                         '-r', '100', '--device', 'cpu:0')
        if started.code:
            check(f'{name} ends it within 2 s', started.wrong())
            continue
        container = started.out.strip()
        status = once_it_listens(container)
        if name == 'SIGTERM':
            wrong = [f'{field} {status[field]}' for field, value in (
                ('Uid', str(UID)), ('Gid', '0'), ('CapEff', '0' * 16), ('CapBnd', '0' * 16), ('NoNewPrivs', '1'),
                ('Seccomp', '2')) if status[field].split()[0] != value]
            check('it runs with no rights at all', ', '.join(wrong))
        podman('stop', '--time=2', container)
        code = podman('inspect', '--format={{.State.ExitCode}}', container).out.strip()
        podman('rm', '--force', container)
        check(f'{name} ends it within 2 s', code != want and f'exit code {code}, not {want}')


# ---- drivers of the host -------------------------------------------------------------------------------


def check_emulated(runner, target):
    """Stand-ins of the drivers, where NVIDIA's runtime on GKE and a host's ROCm put the real ones."""
    folder = os.path.join(ROOT, os.environ.get('HALYARD_BUILD_DIR', 'build'), 'tests/emulator')
    places = {'cuda': 'libcuda_emulated.so:/usr/local/nvidia/lib64/libcuda.so.1',
              'hip': 'libamdhip64_emulated.so:/opt/rocm/lib/libamdhip64.so.7'}
    for name, place in places.items():
        if not os.path.exists(os.path.join(folder, place.split(':')[0])):
            skip(f'a mounted {name} driver', f'no {folder}/{place.split(":")[0]}; tools/dev test makes it')
            continue
        options = (TMP, f'--volume={folder}/{place}:ro', f'--volume={folder}:/emulator:ro',
                   f'--env=HALYARD_{name.upper()}_KERNELS=/emulator/kernels/gfx942')
        check_verify(runner, name + ':0', options)
        check_bench(runner, name + ':0', options)
    if target == 'vulkan':
        check_verify(runner, 'vulkan:0')
        check_bench(runner, 'vulkan:0')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--target', choices=['halyard', 'vulkan'], default='halyard')
    parser.add_argument('archive', nargs='?')
    arguments = parser.parse_args()
    target = arguments.target
    name = 'halyard' if target == 'halyard' else 'halyard-vulkan'
    archive = arguments.archive or os.path.join(ROOT, 'build-image', name + '.oci.tar')
    if not os.path.exists(archive):
        sys.exit(f'tools/dev image-test: no {archive}; tools/dev image makes it')
    image = Image(archive)
    check_archive(image, target)
    pulled = podman('pull', '--quiet', 'oci-archive:' + archive)
    check('podman takes the archive', pulled.wrong())
    if not pulled.code:
        runner = Runner(pulled.out.strip())
        with tempfile.TemporaryDirectory(prefix='halyard-image-') as folder:
            os.chmod(folder, 0o755)
            check_closure(runner, image)
            check_devices(runner, target)
            check_bench(runner)
            check_run(runner, folder)
            check_verify(runner, 'cpu:0')
            check_no_tmp(runner)
            check_stop(runner)
            check_emulated(runner, target)
    print(f'{passed} passed, {failed} failed, {skipped} skipped; {image.compressed / 1e6:.1f} MB compressed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
