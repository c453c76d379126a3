"""Ports for servers that must be told their port before they bind it.

They lie below the kernel's ephemeral range, and a locked file keeps test
processes running at the same time from choosing the same one.
"""

import fcntl
import os
import random
import socket
import tempfile

FIRST, LAST = 10000, 32000
_held = {}  # port: descriptor; the lock goes with the process


def _lock(port):
    directory = os.path.join(tempfile.gettempdir(), f"relayd-ports.{os.getuid()}")
    os.makedirs(directory, exist_ok=True)
    fd = os.open(os.path.join(directory, str(port)), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _unused(port):
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                probe = socket.socket(family, kind)
            except OSError:
                continue  # no IPv6 here
            with probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    if error.errno == 98 or family == socket.AF_INET:
                        return False
    return True


def free():
    """A port free on every loopback address, TCP and UDP, ours until released."""
    dice = random.SystemRandom()
    for _ in range(1000):
        port = dice.randint(FIRST, LAST)
        if port in _held:
            continue
        fd = _lock(port)
        if fd is None:
            continue
        if _unused(port):
            _held[port] = fd
            return port
        os.close(fd)
    raise RuntimeError("no free port")


def release(port):
    fd = _held.pop(port, None)
    if fd is not None:
        os.close(fd)


def own_address():
    """An IPv4 address of this machine that is not on loopback, or None. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address
