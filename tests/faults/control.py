"""What the test and the processes under it share: see fail.c."""

import ctypes
import mmap
import re
import subprocess
from pathlib import Path

from lab import BUILD, RELAYD

LIBRARY = BUILD / "tests" / "faults" / "libfail.so"
SOURCE = (Path(__file__).parent / "fail.c").read_text()


def _kinds():
    table = re.search(r"#define KINDS\(X\)(.*?)\n\n", SOURCE, re.DOTALL).group(1)
    return re.findall(r"X\((\w+), \w+\)", table)


KINDS = _kinds()
PROCESSES = ["parent", "engine", "accounts", "sign"]
FRAMES, STACKS, KINDS_MAX, PROCESSES_MAX = 14, 65536, 64, 8


class _Stack(ctypes.Structure):
    _fields_ = [
        ("hash", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("process", ctypes.c_uint16),
        ("kind", ctypes.c_uint16),
        ("frames", ctypes.c_uint64 * FRAMES),
    ]


class _Control(ctypes.Structure):
    _fields_ = [
        ("armed", ctypes.c_uint32),
        ("process", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("sticky", ctypes.c_uint32),
        ("census", ctypes.c_uint32),
        ("failed", ctypes.c_uint32),
        ("number", ctypes.c_uint64),
        ("hash", ctypes.c_uint64),
        ("frames", ctypes.c_uint64 * FRAMES),
        ("counts", ctypes.c_uint64 * KINDS_MAX * PROCESSES_MAX),
        ("stacks", _Stack * STACKS),
    ]


class Control:
    """The shared file of one tree; .env makes a process part of it."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.write_bytes(bytes(ctypes.sizeof(_Control)))
        self.path.chmod(0o666)  # the children are other users
        with open(self.path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.shared = _Control.from_buffer(self._map)
        self.env = {"LD_PRELOAD": str(LIBRARY), "FAULTS_FILE": str(self.path)}

    def forget(self):
        """Numbers begin anew, and nothing is to fail."""
        shared = self.shared
        shared.armed = 0
        ctypes.memset(shared.counts, 0, ctypes.sizeof(shared.counts))
        shared.failed = 0

    def arm(self, point):
        self.forget()
        shared = self.shared
        shared.process = PROCESSES.index(point.process)
        shared.kind = KINDS.index(point.kind)
        shared.sticky = point.sticky
        shared.number, shared.hash = point.number, point.hash
        ctypes.memset(shared.frames, 0, ctypes.sizeof(shared.frames))
        shared.armed = 1

    def disarm(self):
        self.shared.armed = 0

    @property
    def failed(self):
        return self.shared.failed

    @property
    def frames(self):
        return [f for f in self.shared.frames if f]

    def collect(self, on):
        """Whether the stacks of all calls are written down; those so far are dropped."""
        ctypes.memset(self.shared.stacks, 0, ctypes.sizeof(self.shared.stacks))
        self.shared.census = on

    def counts(self):
        """{(process, kind): calls}"""
        return {
            (process, kind): self.shared.counts[p][k]
            for p, process in enumerate(PROCESSES)
            for k, kind in enumerate(KINDS)
            if self.shared.counts[p][k]
        }

    def stacks(self):
        """{(process, kind, hash): frames}"""
        found = {
            (PROCESSES[s.process], KINDS[s.kind], s.hash): [f for f in s.frames if f]
            for s in self.shared.stacks
            if s.hash
        }
        assert len(found) < STACKS, "no room for further stacks: STACKS is too small, here and in fail.c"
        return found


def where(frames, deep=4):
    """The nearest frames of the program's own, as FUNCTION (FILE:LINE) < …"""
    own = [f & 0xFFFFFFFFFFFF for f in frames if f >> 48 == 1][:deep]
    if not own:
        return "outside relayd's own code"
    done = subprocess.run(
        ["addr2line", "-fs", "-e", RELAYD, *(hex(a - 1) for a in own)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    named = [f"{lines[i]} ({lines[i + 1].split(' ')[0]})" for i in range(0, len(lines) - 1, 2)]
    return ("" if frames[0] >> 48 == 1 else "in a library < ") + " < ".join(named)
