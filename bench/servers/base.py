"""The few words that a scenario knows of any server.

It says in a Setting what it wants; each server's file says how that is
granted, and where it is kinder to its server than to relayd.
"""

import dataclasses
import os
import signal
import socket
import time

import proc
from lab.process import gone


@dataclasses.dataclass
class Setting:
    """hold: what is accepted is synced and left alone. Otherwise mail for a domain
    goes to its way in `ways`, and all other mail to `port`; a way is (address, port)."""

    hold: bool = False
    port: int = 0
    ways: dict = dataclasses.field(default_factory=dict)
    signed: bool = False
    disk: object = None  # a lab.disk.Disk below which the queue lies

    def environment(self):
        return self.disk.env if self.disk else {}


class Server:
    """start() returns it when it greets; place is a folder of its own."""

    name = ""
    port = 0

    @staticmethod
    def missing():
        """Why it can't run here, or None."""
        return None

    def __init__(self, place, setting):
        raise NotImplementedError

    @property
    def pids(self):
        """The roots of its process trees."""
        raise NotImplementedError

    def start(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def launch(self):
        """Starts it again after crash(), without waiting for anything."""
        raise NotImplementedError

    def crash(self):
        """SIGKILL to everything at once, as an out-of-memory killer gone mad."""
        pids = proc.tree(self.pids)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.forget()
        gone(pids)

    def forget(self):
        """Reaps what crash() killed."""
        raise NotImplementedError

    def listing(self):
        """(command, environment, pattern of a message's line): what shows the queue."""
        raise NotImplementedError


def first_greeting(port, timeout=120):
    """The socket of the first connection that is greeted from now on."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            s = socket.create_connection(("127.0.0.1", port), 10)
            s.settimeout(timeout)
            if s.recv(4096).startswith(b"220"):
                return s
            s.close()
        except OSError:
            time.sleep(0.002)
    raise RuntimeError(f"nobody greets at port {port}")
