"""Where mail goes to: the counting sink, and hosts that answer nobody."""

import json
import socket
import subprocess

import core
from lab import ports, wait


class Sink:
    """bench/sink and its counts."""

    def __init__(self, where="0"):
        self.popen = subprocess.Popen(
            [core.BUILD / "bench" / "sink", where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.popen.stdout.readline().split()[1])

    def counts(self):
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def wait(self, count, timeout, what="messages"):
        """Its counts once so many messages (or recipients) are there."""
        wait.until(
            lambda: self.counts()[what] >= count,
            lambda: f"{count} {what} in the sink: {self.counts()}",
            timeout,
            step=0.05,
        )
        return self.counts()

    def stop(self):
        self.popen.stdin.close()
        self.popen.wait(10)


class Refusing:
    """A port where nobody listens."""

    def __init__(self):
        self.port = ports.free()

    def stop(self):
        ports.release(self.port)


class Silent:
    """Takes connections, as a kernel does for a program that is stuck, and says nothing."""

    def __init__(self, address, port):
        self.socket = socket.create_server((address, port), backlog=4096)

    def stop(self):
        self.socket.close()
