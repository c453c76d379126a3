"""A limit of memory for a daemon and its children: a cgroup made by hand.

    limit = MemoryLimit(128 << 20)
    lab.relayd(under=limit.prefix)
    limit.kills                        how often the kernel killed one of them
    limit.peak                         bytes, page cache included

Only root may make one. Version 2 where it has the memory controller, else version 1.
"""

import os
import re
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def _version_2():
    """A place below which groups of version 2 with the memory controller may be made, or None."""
    try:
        if "memory" in (ROOT / "cgroup.subtree_control").read_text().split():
            return ROOT
        if "memory" in (ROOT / "cgroup.controllers").read_text().split():
            (ROOT / "cgroup.subtree_control").write_text("+memory")
            return ROOT
    except OSError:
        pass
    return None


def available():
    """Why there can be none, or None."""
    if os.getuid() != 0:
        return "only root may make a cgroup"
    if _version_2() is None and not (ROOT / "memory" / "memory.limit_in_bytes").exists():
        return "this machine gives no cgroup with a memory limit"
    try:
        MemoryLimit(1 << 30).stop()
    except OSError as problem:
        return f"no cgroup with a memory limit can be made here: {problem}"
    return None


class MemoryLimit:
    _count = 0

    def __init__(self, size):
        MemoryLimit._count += 1
        base = _version_2()
        self._new = base is not None
        self.path = (base or ROOT / "memory") / f"relayd-test-{os.getpid()}-{MemoryLimit._count}"
        self.path.mkdir()
        try:
            self._file("memory.max", "memory.limit_in_bytes").write_text(str(size))
            swap = self.path / "memory.swap.max" if self._new else self.path / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text("0" if self._new else str(size))
        except OSError:
            self.stop()
            raise
        enter = self.path / "cgroup.procs"
        self.prefix = ["/bin/sh", "-c", f'echo $$ > {enter} && exec "$@"', "sh"]

    def _file(self, new, old):
        return self.path / (new if self._new else old)

    @property
    def kills(self):
        text = self._file("memory.events", "memory.oom_control").read_text()
        return int(re.search(r"(?m)^oom_kill (\d+)", text).group(1))

    @property
    def peak(self):
        return int(self._file("memory.peak", "memory.max_usage_in_bytes").read_text())

    def stop(self):
        self.path.rmdir()


def anonymous(pids):
    """Bytes of these processes' own memory: what no page cache gives back."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        match = re.search(r"(?m)^RssAnon:\s+(\d+) kB", text)
        total += int(match.group(1)) * 1024 if match else 0
    return total
