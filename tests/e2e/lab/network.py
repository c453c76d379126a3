"""A host at the far end of a cable that can be pulled: a network namespace.

    far = FarHost()
    with far.inside():          what is opened here, and threads begun here, are over there
        sink = lab.sink(far.address)
    far.cut()                   from now on nothing comes through, either way, and nobody is told
    far.mend()
    far.near                    our own end's address

Only root may make one.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def available():
    """Why there can be none, or None."""
    if os.getuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "ip (package iproute2) is not installed"
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True)
    return f"no network namespace can be made here: {tried.stderr.strip()}" if tried.returncode != 0 else None


class FarHost:
    def __init__(self):
        number = os.getpid() % 16384  # of a subnet of four addresses in the range for benchmarks (RFC 2544)
        base = f"198.18.{number // 64}.{number % 64 * 4}".rsplit(".", 1)
        self.near, self.address = (f"{base[0]}.{int(base[1]) + n}" for n in (1, 2))
        self.name = f"relayd-{number}"
        self._device = f"rly{number}"
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self._device, "type", "veth", "peer", "name", "far", "netns", self.name)
            _ip("addr", "add", f"{self.near}/30", "dev", self._device)
            _ip("link", "set", self._device, "up")
            for words in (["addr", "add", f"{self.address}/30", "dev", "far"], ["link", "set", "far", "up"],
                          ["link", "set", "lo", "up"]):  # fmt: skip
                _ip("-n", self.name, *words)
            # Known for good, or after a while the kernel would notice that nobody answers.
            mac = subprocess.run(
                ["ip", "netns", "exec", self.name, "cat", "/sys/class/net/far/address"],
                capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
            _ip("neigh", "replace", self.address, "lladdr", mac, "dev", self._device, "nud", "permanent")
        except BaseException:
            self.stop()
            raise

    @contextlib.contextmanager
    def inside(self):
        with open("/proc/thread-self/ns/net") as home, open(Path("/run/netns") / self.name) as there:
            self._enter(there)
            try:
                yield
            finally:
                self._enter(home)

    @staticmethod
    def _enter(namespace):
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def cut(self):
        """What arrives over there is from nobody, and nothing leaves."""
        _ip("-n", self.name, "route", "replace", "blackhole", f"{self.near}/32")

    def mend(self):
        _ip("-n", self.name, "route", "del", "blackhole", f"{self.near}/32")

    def stop(self):
        subprocess.run(["ip", "link", "del", self._device], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
