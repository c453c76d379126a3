"""What a server's process tree costs."""

import os
import re
import time
from pathlib import Path

import core
from lab.process import descendants, stat

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pids):
    return [p for pid in pids for p in (pid, *descendants(pid))]


def cpu_seconds(pids):
    """Of the trees below, with the children they have waited for."""
    ticks = 0
    for pid in tree(pids):
        fields = stat(pid)
        if fields:
            ticks += sum(int(f) for f in fields[11:15])
    return ticks / TICKS


def cpu_when_idle(pids, timeout=20):
    end = time.monotonic() + timeout
    before, since = cpu_seconds(pids), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < 0.5:
        time.sleep(0.05)
        now = cpu_seconds(pids)
        if now > before + 0.011:  # a tick may be timers
            before, since = now, time.monotonic()
    return before


def memory(pids):
    """(own, resident) in MiB, of the whole tree: what the kernel can't take back
    (heap and stacks, each page once), and that with the pages of mapped files,
    which are its cache."""
    own = resident = 0
    for pid in tree(pids):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib = {k: int(v) for k, v in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
        own += kib.get("Pss_Anon", 0) + kib.get("SwapPss", 0)
        resident += kib.get("Pss", 0)
    return own * core.KIB / core.MIB, resident * core.KIB / core.MIB
