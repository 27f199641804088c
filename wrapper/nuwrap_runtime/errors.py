"""The runtime's error tree: a class is a phase of the run and an exit code. Imports nothing of ours.

NuwrapError
├── LaunchError         launch         2
├── SourceError         source         3
├── RequirementsError   requirements   4
├── LoadError           load           5
├── InitError           init           6
├── InputsError         inputs         7
├── OutputsError        outputs        8
├── PlatformError       platform      10
└── Stopped             stopped      143

What ends the user's code (an exception, a signal, a time-out) is no error of ours: it is a `result.Failure`.
"""

from __future__ import annotations


class NuwrapError(Exception):
    """What nuwrap refuses or cannot do; the text is one message for a person: what, which value, what is allowed."""

    phase = "platform"
    exit_code = 10


class LaunchError(NuwrapError):
    """A launch document, a flag or a variable that is not valid."""

    phase = "launch"
    exit_code = 2


class SourceError(NuwrapError):
    """The code could not be had from where `code_src`, `code` or `base64` says."""

    phase = "source"
    exit_code = 3


class RequirementsError(NuwrapError):
    """The requirements are not valid, do not resolve or do not install."""

    phase = "requirements"
    exit_code = 4


class LoadError(NuwrapError):
    """The handler or the init function cannot be loaded from the code."""

    phase = "load"
    exit_code = 5


class InitError(NuwrapError):
    """`init_function` cannot be called with `init_parameters`."""

    phase = "init"
    exit_code = 6


class InputsError(NuwrapError):
    """An input cannot be had, or inputs and parameters do not fit the handler's signature."""

    phase = "inputs"
    exit_code = 7


class OutputsError(NuwrapError):
    """A returned value is neither a result nor an output, or cannot be written."""

    phase = "outputs"
    exit_code = 8


class PlatformError(NuwrapError):
    """A program or a place that nuwrap needs is not there: an interpreter, an installer, a writable folder."""

    phase = "platform"
    exit_code = 10


class Stopped(NuwrapError):
    """The run was asked to end (SIGTERM, SIGINT) before it was done."""

    phase = "stopped"
    exit_code = 143
