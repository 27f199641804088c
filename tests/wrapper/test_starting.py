"""What every process of the host does first: how a stop is raised."""

from __future__ import annotations

import subprocess
import sys

STOPPED_WHILE_IT_ASKS = """
import signal, subprocess, sys
from nuwrap_runtime.errors import Stopped
from nuwrap_runtime.host.starting import take_stops

process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
take_stops()
for number in range(120):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + number % 20 * 0.00001)
        while True:
            process.poll()
    except Stopped:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
process.kill()
print(process.wait())
"""
STOPPED_WHILE_IT_WAITS = """
import signal, subprocess, sys
from nuwrap_runtime.errors import Stopped
from nuwrap_runtime.host.starting import take_stops

process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
take_stops()
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    process.wait()
except Stopped:
    process.kill()
    print(process.wait())
"""


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


class TestStop:
    def test_stop_while_a_process_is_asked_for_its_end_leaves_no_lock_taken(self):
        assert run_python(STOPPED_WHILE_IT_ASKS) == "-9\n"

    def test_stop_ends_a_wait_for_a_process(self):
        assert run_python(STOPPED_WHILE_IT_WAITS) == "-9\n"
