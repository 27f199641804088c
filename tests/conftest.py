"""For all tests: signals as a program in a terminal has them, however the test run itself was started."""

from __future__ import annotations

import signal

# Under nohup, or as a shell's background job, they are ignored, and what the tests start would inherit that.
for _number, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)
