"""A headless Chromium, driven over pipes by the protocol of DevTools."""

import json
import os
import select
import shutil
import subprocess
import sys
import time

#: Names of the program, also those of Chrome. Ubuntu's chromium-browser comes
#: last: it may be a note that says how to install it.
PROGRAMS = ('chromium', 'google-chrome', 'chrome', 'chromium-browser')

#: Seconds for an answer, on a machine that has much else to do.
PATIENCE = 60

#: No name leads anywhere, and it neither looks for updates nor calls home.
OFFLINE = (
    *('--host-resolver-rules=MAP * ~NOTFOUND', '--proxy-server=127.0.0.1:9'),
    *('--disable-background-networking', '--disable-component-update'),
    *('--disable-default-apps', '--disable-extensions', '--disable-sync'),
    *('--no-first-run', '--no-pings', '--metrics-recording-only'),
)


def find_browser() -> str | None:
    """Return the path of a Chromium; None without one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


#: Starts a program that reads from 3 and writes to 4, which may be in use.
START = """
import fcntl, os, sys
files = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]
for number, file in enumerate(files, 3):
    os.dup2(file, number)
    os.close(file)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A Chromium with one tab.

    Attributes:
        events: What it told without being asked, since the last page.
    """

    def __init__(self, program, folder):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        pipes = theirs_in, theirs_out
        # The sandbox needs rights that few containers give; pages are ours.
        command = [
            *(sys.executable, '-ISc', START, *map(str, pipes)),
            *(program, '--headless', '--no-sandbox', '--disable-gpu'),
            *('--disable-dev-shm-usage', '--remote-debugging-pipe'),
            *(f'--user-data-dir={folder}', *OFFLINE),
        ]
        with (folder / 'browser.log').open('wb') as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pipes,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._log = folder / 'browser.log'
        self._number, self._rest, self._session = 0, b'', None
        self.events = []
        target = self.ask('Target.createTarget', url='about:blank')
        self._session = self.ask(
            'Target.attachToTarget', flatten=True, **target
        )['sessionId']
        for part in ('Page', 'Runtime', 'Log', 'Network'):
            self.ask(f'{part}.enable')

    def close(self):
        """End it."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(PATIENCE)

    def ask(self, method, **parameters):
        """Call a method of DevTools; return what it answers."""
        self._number += 1
        message = {
            'id': self._number,
            'method': method,
            'params': parameters,
        }
        if self._session:
            message['sessionId'] = self._session
        data = json.dumps(message).encode() + b'\0'
        while data:
            data = data[os.write(self._out, data) :]
        while (answer := self._read()).get('id') != self._number:
            self.events.append(answer)
        assert 'error' not in answer, (method, answer)
        return answer['result']

    def open(self, path, width=1280, height=900, scheme='light'):
        """Open a page, and wait until all of it is there."""
        self.events.clear()
        self.ask(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        media = [{'name': 'prefers-color-scheme', 'value': scheme}]
        self.ask('Emulation.setEmulatedMedia', features=media)
        self.ask('Page.navigate', url=path.as_uri())
        while not any(
            event.get('method') == 'Page.loadEventFired'
            for event in self.events
        ):
            self.events.append(self._read())

    def run(self, script):
        """Return the value of an expression of JavaScript."""
        answer = self.ask(
            'Runtime.evaluate',
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def told(self, *methods):
        """Return the parameters of events with one of some names."""
        return [e['params'] for e in self.events if e['method'] in methods]

    def complaints(self):
        """Return what is in the console, and what was thrown."""
        return self.told(
            'Log.entryAdded',
            'Runtime.consoleAPICalled',
            'Runtime.exceptionThrown',
        )

    def requests(self):
        """Return the addresses of all that was asked for."""
        sent = self.told('Network.requestWillBeSent')
        return [event['request']['url'] for event in sent]

    def _read(self):
        """Return the next message, without the NUL that ends it."""
        limit = time.monotonic() + PATIENCE
        while b'\0' not in self._rest:
            left = limit - time.monotonic()
            ready, _, _ = select.select([self._in], [], [], max(left, 0))
            assert ready, f'Chromium said nothing for {PATIENCE} s'
            data = os.read(self._in, 1 << 20)
            assert data, f'Chromium ended: {self._log.read_text()}'
            self._rest += data
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)
