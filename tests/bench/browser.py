"""A headless Chromium, driven over the DevTools protocol on a pipe: JSON messages that end with a NUL, which Chromium
reads from descriptor 3 and writes to 4. https://chromedevtools.github.io/devtools-protocol/"""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
             '--disable-extensions', '--disable-background-networking', '--hide-scrollbars',
             '--remote-debugging-pipe']
TIMEOUT_S = 60


def find():
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    def __init__(self, program):
        self.home = tempfile.mkdtemp(prefix='halyard-browser-')
        to_read, self.to = os.pipe()
        self.back, from_write = os.pipe()

        def connect():  # by way of 13 and 14, lest one of the pipes has the number of the other's goal
            os.dup2(to_read, 13), os.dup2(from_write, 14)
            os.dup2(13, 3), os.dup2(14, 4)
            os.close(13), os.close(14)

        self.process = subprocess.Popen(
            [program, *ARGUMENTS, '--user-data-dir=' + self.home, 'about:blank'], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=connect, close_fds=False,
            env=dict(os.environ, HOME=self.home, XDG_CONFIG_HOME=self.home, XDG_CACHE_HOME=self.home))
        os.close(to_read), os.close(from_write)
        self.number, self.rest, self.events = 0, b'', []

    def close(self):
        os.close(self.to)  # Chromium ends with its pipe
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.back)
        shutil.rmtree(self.home, ignore_errors=True)

    def receive(self, deadline):
        while b'\0' not in self.rest:
            if not select.select([self.back], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError('no answer from the browser')
            chunk = os.read(self.back, 1 << 20)
            if not chunk:
                raise ConnectionError('the browser has ended')
            self.rest += chunk
        message, _, self.rest = self.rest.partition(b'\0')
        return json.loads(message)

    def call(self, method, session=None, **params):
        """Sends a command and returns its result; events that arrive meanwhile are kept."""
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': params}
        if session:
            message['sessionId'] = session
        data = json.dumps(message).encode() + b'\0'
        while data:
            data = data[os.write(self.to, data):]
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            answer = self.receive(deadline)
            if answer.get('id') == self.number:
                if 'error' in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer['result']
            self.events.append(answer)

    def wait_for(self, session, method):
        deadline = time.monotonic() + TIMEOUT_S
        while not any(e.get('method') == method and e.get('sessionId') == session for e in self.events):
            self.events.append(self.receive(deadline))


class Page:
    """A tab that shows `url` at a size, with everything it asked for and complained of."""

    def __init__(self, browser, url, width=1280, height=900, dark=False, media='', downloads=None):
        self.browser, self.url = browser, url
        self.target = browser.call('Target.createTarget', url='about:blank')['targetId']
        self.session = browser.call('Target.attachToTarget', targetId=self.target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')
        self.call('Emulation.setEmulatedMedia', media=media,
                  features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        self.resize(width, height)
        if downloads:
            browser.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=downloads)
        self.call('Page.navigate', url=url)
        browser.wait_for(self.session, 'Page.loadEventFired')
        self.settle()

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def resize(self, width, height):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)

    def settle(self):
        """Until what observers of sizes do is drawn."""
        self.run('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')

    def run(self, expression):
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True,
                           userGesture=True)
        if 'exceptionDetails' in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer['result'].get('value')

    def press(self, key):
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS.get(key, 0))
        self.settle()

    def seen(self, method):
        return [e['params'] for e in self.browser.events
                if e.get('method') == method and e.get('sessionId') == self.session]

    def screenshot(self, clip=None, scale=1):
        more = {'clip': dict(clip, scale=scale), 'captureBeyondViewport': True} if clip else {}
        return base64.b64decode(self.call('Page.captureScreenshot', format='png', **more)['data'])

    def close(self):
        self.browser.call('Target.closeTarget', targetId=self.target)


KEYS = {'Tab': 9, 'Escape': 27, 'PageDown': 34, 'ArrowRight': 39}
