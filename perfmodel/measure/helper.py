"""A process that answers requests, JSON a line each, over its standard input and output."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from perfmodel.errors import CapabilityError


class Helper:
    """A Python module of ours in a process, with all that it forks.

    Parameters
    ----------
    module : str
    what : str
        What it is called when it does not answer.
    """

    def __init__(self, module: str, what: str) -> None:
        # A session of its own: Ctrl-C reaches us, and we end it in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            # Threads that nobody needs would be memory that every fork has to copy.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_TOP_PAD_": str(16 << 20)},
        )
        self._what = what
        self._buffer = b""

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one request and wait for its reply, so long and no longer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CapabilityError(f"the {self._what} ended; is memory too low?") from None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(seconds):
                    raise CapabilityError(f"the {self._what} took more than {seconds:.0f} seconds")
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    raise CapabilityError(f"the {self._what} ended; is memory too low?")
                self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise CapabilityError(reply["error"])
        return reply

    def end(self) -> None:
        """Kill the process and what it has forked; their memory and swap go with them."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What a dead process has not read cannot be flushed, and need not be.
                with suppress(OSError):
                    stream.close()
