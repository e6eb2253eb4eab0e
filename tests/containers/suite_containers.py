"""What can be told of the container image and the Kubernetes jobs without building or starting anything."""
import json
import os
import re
import shlex
import shutil
import subprocess
import unittest

import harness

SOURCE = os.environ['HALYARD_SOURCE']
FOLDER = os.path.join(SOURCE, 'containers')
LABELS = ('title description version revision created source url documentation licenses vendor base.name').split()
CARDS = {'cpu': None, 'nvidia': 'nvidia.com/gpu', 'amd': 'amd.com/gpu', 'intel': 'gpu.intel.com/i915',
         'intel-xe': 'gpu.intel.com/xe'}
DEVICES = {'cpu': 'cpu', 'nvidia': 'cuda:0', 'amd': 'hip:0', 'intel': 'vulkan:0', 'intel-xe': 'vulkan:0'}


def instructions():
    """(word, rest) of each instruction of the Containerfile."""
    with open(os.path.join(FOLDER, 'Containerfile'), encoding='utf-8') as file:
        lines = [line for line in file.read().splitlines() if line.strip() and not line.lstrip().startswith('#')]
    for line in re.sub(r'\\\n', ' ', '\n'.join(lines)).splitlines():
        word, _, rest = line.partition(' ')
        yield word, rest.strip()


def stages():
    """Name -> its instructions, FROM first; the last one, which has no name, is ''."""
    found = {}
    for word, rest in instructions():
        if word == 'FROM':
            name = rest.split(' AS ')[1] if ' AS ' in rest else ''
            found[name] = []
        if found:
            found[name].append((word, rest))
    return found


class Containerfile(unittest.TestCase):
    def setUp(self):
        self.stages = stages()

    def only(self, word, stage='halyard'):
        values = [rest for w, rest in self.stages[stage] if w == word]
        self.assertEqual(len(values), 1, f'{word} of {stage}: {values}')
        return values[0]

    def test_process(self):
        self.assertEqual(json.loads(self.only('ENTRYPOINT')), ['halyard'])
        json.loads(self.only('CMD'))
        self.assertRegex(self.only('USER'), r'^[1-9]\d*:\d+$')
        self.assertEqual(self.only('FROM'), 'scratch AS halyard')

    def test_other_images_change_none_of_it(self):
        self.assertEqual(self.stages[''], [('FROM', 'halyard')])
        self.assertEqual([word for word, _ in self.stages['vulkan']], ['FROM', 'COPY'])
        self.assertEqual(self.only('FROM', 'vulkan'), 'halyard AS vulkan')

    def test_labels(self):
        labels = dict(word.split('=', 1) for word in shlex.split(self.only('LABEL')))
        self.assertEqual(sorted(labels), sorted('org.opencontainers.image.' + name for name in LABELS))
        arguments = {rest.split('=')[0] for word, rest in self.stages['halyard'] if word == 'ARG'}
        for name, value in labels.items():
            self.assertTrue(value, name)
            self.assertLessEqual(set(re.findall(r'\$\{(\w+)\}', value)), arguments, name)

    def test_version(self):
        with open(os.path.join(SOURCE, 'meson.build'), encoding='utf-8') as file:
            version = re.search(r"(?m)^  version : '([\d.]+)'", file.read()).group(1)
        self.assertIn(('ARG', f'VERSION={version}'), self.stages['halyard'])

    def test_sources_exist(self):
        for stage, steps in self.stages.items():
            for rest in (rest for word, rest in steps if word in ('COPY', 'ADD')):
                words = rest.split()
                origin = [word.split('=')[1] for word in words if word.startswith('--from=')]
                if origin:
                    self.assertIn(origin[0], self.stages, rest)
                    continue
                self.assertFalse(words[0].startswith('--'), rest)
                for path in words[:-1]:
                    self.assertTrue(os.path.exists(os.path.join(SOURCE, path)), f'{stage}: {rest}')

    def test_scripts_exist(self):
        scripts = {name for _, rest in instructions() for name in re.findall(r'\b(?:containers|tools)/\w[\w./]*', rest)}
        self.assertIn('containers/compile.sh', scripts)
        for name in scripts:
            self.assertTrue(os.access(os.path.join(SOURCE, name), os.X_OK), name)

    def test_no_secrets(self):
        for word, rest in instructions():
            if word in ('ARG', 'ENV', 'LABEL'):
                self.assertNotRegex(rest, r'(?i)token|secret|password')


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which('kubectl'):
            raise unittest.SkipTest('no kubectl')
        version = subprocess.run(['kubectl', 'version', '--client'], capture_output=True, text=True, timeout=60).stdout
        if not re.search(r'Kustomize Version: v([5-9]|\d\d)', version):
            raise unittest.SkipTest(f'kubectl is too old: its kustomize is not 5 or newer: {version.strip()}')
        try:
            import yaml
        except ImportError:
            raise unittest.SkipTest('no PyYAML (python3-yaml)') from None
        cls.job = {}
        for name in CARDS:
            done = subprocess.run(['kubectl', 'kustomize', os.path.join(FOLDER, 'kubernetes', name)],
                                  capture_output=True, text=True, timeout=120)
            if done.returncode:
                raise AssertionError(f'{name}: {done.stderr}')
            cls.job[name] = list(yaml.safe_load_all(done.stdout))

    def test_jobs(self):
        names = set()
        for node, documents in self.job.items():
            self.assertEqual(len(documents), 1, node)
            job = documents[0]
            names.add(job['metadata']['name'])
            for check in (self.runs_once, self.no_rights, self.bounds_and_cards, self.mounts, self.images, self.arguments):
                with self.subTest(node=node, what=check.__name__):
                    check(node, job['spec'], job['spec']['template']['spec'])
            self.assertEqual((job['apiVersion'], job['kind']), ('batch/v1', 'Job'))
        self.assertEqual(len(names), len(CARDS))

    @staticmethod
    def all_containers(pod):
        return pod['containers'] + pod.get('initContainers', [])

    def runs_once(self, _, job, pod):
        self.assertEqual(job['backoffLimit'], 0)
        self.assertGreater(job['ttlSecondsAfterFinished'], 0)
        self.assertEqual(pod['restartPolicy'], 'Never')
        self.assertEqual([container['name'] for container in pod['containers']], ['bench'])

    def no_rights(self, _, __, pod):
        """What Kubernetes' profile `restricted` asks for, and a read-only root."""
        self.assertIs(pod['automountServiceAccountToken'], False)
        self.assertIs(pod['securityContext']['runAsNonRoot'], True)
        self.assertEqual(pod['securityContext']['seccompProfile'], {'type': 'RuntimeDefault'})
        for key in ('hostNetwork', 'hostPID', 'hostIPC'):
            self.assertNotIn(key, pod)
        for volume in pod['volumes']:
            self.assertEqual(set(volume) - {'name'}, {'emptyDir'}, volume)
        for container in self.all_containers(pod):
            rights = container['securityContext']
            self.assertIs(rights['readOnlyRootFilesystem'], True)
            self.assertIs(rights['allowPrivilegeEscalation'], False)
            self.assertEqual(rights['capabilities'], {'drop': ['ALL']})
            self.assertNotIn('privileged', rights)
            self.assertNotEqual(rights.get('runAsUser'), 0)

    def bounds_and_cards(self, node, _, pod):
        limits, requests = (pod['containers'][0]['resources'][key] for key in ('limits', 'requests'))
        for key in ('cpu', 'memory', 'ephemeral-storage'):
            self.assertEqual(limits[key], requests[key])
        self.assertEqual({key: value for key, value in limits.items() if '/' in key},
                         {CARDS[node]: 1} if CARDS[node] else {})
        self.assertTrue(pod['nodeSelector'])

    def mounts(self, _, __, pod):
        volumes = {volume['name'] for volume in pod['volumes']}
        for container in self.all_containers(pod):
            self.assertLessEqual({mount['name'] for mount in container['volumeMounts']}, volumes)
        self.assertIn('/tmp', [mount['mountPath'] for mount in pod['containers'][0]['volumeMounts']])

    def images(self, node, _, pod):
        want = 'halyard-vulkan' if DEVICES[node].startswith('vulkan') else 'halyard'
        self.assertRegex(pod['containers'][0]['image'], rf'/{want}:[\d.]+$')
        for container in pod.get('initContainers', []):
            self.assertRegex(container['image'], r':[\d.]+$')

    def arguments(self, node, _, pod):
        """JSON on standard output, the device of the node, and only options that there are."""
        options = subprocess.run([harness.HALYARD, 'bench', '--help'], capture_output=True, text=True).stdout
        args = pod['containers'][0]['args']
        self.assertEqual(args[0], 'bench')
        self.assertEqual(args[args.index('-o') + 1], 'json')
        self.assertIn('--device=' + DEVICES[node], args)
        for word in args[1:]:
            if word.startswith('-'):
                self.assertRegex(options, rf'(?m)^  (-\w, )?{re.escape(word.split("=")[0])}\b')


class Documents(unittest.TestCase):
    def test_folders_named_in_the_docs_exist(self):
        for page in ('docs/containers.md', 'README.md'):
            with open(os.path.join(SOURCE, page), encoding='utf-8') as file:
                text = file.read()
            named = set(re.findall(r'(?<![\w/])containers/[\w./-]*\w', text))
            self.assertTrue(named, page)
            for path in named:
                self.assertTrue(os.path.exists(os.path.join(SOURCE, path)), f'{page}: {path}')
