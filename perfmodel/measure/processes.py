"""The processes of one scenario: a loop of requests in each, and who answers to whom.

Process 0 is the worker itself. It makes a pair of sockets for every process that will ever be
forked before the first one is, so that a grandchild talks to it too. A process ends when its socket
does: with the worker, however that came about.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from typing import Any, NoReturn

from perfmodel.measure.actor import Actor, Reply
from perfmodel.measure.linux import LinuxCallError

_MOST_SECONDS = 60


class _Channel:
    """JSON documents, a line each, over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = b""

    def send(self, document: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(document).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next document; EOFError if the other side has ended."""
        while b"\n" not in self._buffer:
            part = self.connection.recv(1 << 16)
            if not part:
                raise EOFError
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        document: dict[str, Any] = json.loads(line)
        return document


class Processes:
    """All processes of one repetition, as the worker sees them."""

    def __init__(self, actor: Actor, forks: int) -> None:
        self._actor = actor
        self._pairs = [socket.socketpair() for _ in range(forks)]
        self._channels = [_Channel(ours) for ours, _ in self._pairs]
        self._handles: dict[int, int] = {}

    def perform(self, step: dict[str, Any]) -> Reply:
        """Have the process that a step names do it."""
        process = step["process"]
        if step["action"] == "exit":
            return self._exit(process)
        if process:
            reply = self._ask(process, step)
        elif step["action"] == "fork":
            reply = self._fork(step["child"])
        else:
            reply = self._actor.perform(step)
        if step["action"] == "fork":
            self._handles[step["child"]] = os.pidfd_open(reply.pop("pid"))
            self._expect(step["child"])  # it is ready for its first step
        return reply

    def _fork(self, child: int) -> Reply:
        """Fork, and in the child serve to the end."""
        pid, reply = self._actor.fork()
        if pid == 0:
            self._serve(child)
        return reply | {"pid": pid}

    def _ask(self, process: int, step: dict[str, Any]) -> Reply:
        self._channels[process - 1].send(step)
        return self._expect(process)

    def _expect(self, process: int) -> Reply:
        channel, handle = self._channels[process - 1], self._handles[process]
        either: list[Any] = [channel.connection, handle]
        if channel.connection not in select.select(either, [], [])[0]:
            raise LinuxCallError(f"process {process} of the scenario ended; is memory too low?")
        reply = channel.receive()
        if "error" in reply:
            raise LinuxCallError(reply["error"])
        return reply

    def _serve(self, number: int) -> NoReturn:
        """Perform steps until the worker asks no more; never returns."""
        status = 1
        try:
            # Later processes may be forked from here, and need their own ends.
            for ours, _ in self._pairs:
                ours.close()
            channel = _Channel(self._pairs[number - 1][1])
            self._actor.region.keep_all_else_in_memory()
            channel.send({})
            while True:
                step = channel.receive()
                try:
                    forks = step["action"] == "fork"
                    reply = self._fork(step["child"]) if forks else self._actor.perform(step)
                except OSError as error:
                    reply = {"error": str(error)}
                channel.send(reply)
        except EOFError:
            status = 0
        finally:
            os._exit(status)

    def _exit(self, process: int) -> Reply:
        """End a process; the time until the kernel has taken its memory apart."""
        handle = self._handles.pop(process)
        ended: list[int] = []

        def end() -> int:
            nonlocal ended
            start = time.perf_counter_ns()
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            ended = select.select([handle], [], [], _MOST_SECONDS)[0]
            return time.perf_counter_ns() - start

        try:
            reply = self._actor.count(end)
        finally:
            os.close(handle)
        if not ended:
            raise LinuxCallError(f"process {process} of the scenario did not end")
        return reply

    def end(self) -> None:
        """End all that are left, so that the next repetition finds nothing of this one."""
        for process in list(self._handles):
            self._exit(process)
        for ours, theirs in self._pairs:
            ours.close()
            theirs.close()
