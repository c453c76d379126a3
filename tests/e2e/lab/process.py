"""One program under test: started, watched, stopped by its pid."""

import os
import signal
import subprocess
import threading

from lab import wait

CRASHES = (
    "ended by signal 4 ",
    "ended by signal 7 ",
    "ended by signal 8 ",
    "ended by signal 11 ",
    "ERROR: AddressSanitizer",
    "ERROR: LeakSanitizer",
    "WARNING: ThreadSanitizer",
    "runtime error:",
    "AddressSanitizer:DEADLYSIGNAL",
)


class Process:
    """Runs a command in a process group of its own and collects its output."""

    def __init__(self, name, command, env=None, cwd=None, new_session=True):
        self.name = name
        self.lines = []
        self._lock = threading.Lock()
        self.popen = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=new_session,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.popen.stdout:
            with self._lock:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def pid(self):
        return self.popen.pid

    @property
    def log(self):
        with self._lock:
            return "\n".join(self.lines)

    def running(self):
        return self.popen.poll() is None

    def kill(self, number):
        os.kill(self.popen.pid, number)

    def kill_group(self, number):
        """The whole group: for servers with children of their own."""
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass

    def wait_for(self, ready, what, timeout=10):
        """Polls, and fails at once when the program has ended."""

        def check():
            value = ready()
            if not value and not self.running():
                raise wait.Late(f"{self.name} ended ({self.popen.returncode}):\n{self.log}")
            return value

        return wait.until(check, lambda: f"{self.name}: {what}\n{self.log}", timeout)

    def stop(self, timeout=10, number=signal.SIGTERM):
        """Ends it; returns its exit code, or None if it had to be killed."""
        if self.running():
            self.kill(number)
            try:
                self.popen.wait(timeout * wait.FACTOR)
            except subprocess.TimeoutExpired:
                self.kill_tree()
                self.popen.wait()
                self._reader.join(5)
                return None
        self._reader.join(5)
        return self.popen.returncode

    def kill_tree(self):
        for pid in [*descendants(self.popen.pid), self.popen.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def crash_report(self):
        """What a sanitizer said, or of a child that crashed by itself."""
        log = self.log
        for sign in CRASHES:
            at = log.find(sign)
            if at >= 0:
                return log[max(0, at - 200) : at + 4000]
        return None


def stat(pid):
    """The fields of /proc/PID/stat behind the name, or None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().decode("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants(pid):
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat(entry)
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def name_of(pid):
    """The command line as ps shows it ("relayd: engine"), or ''."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid):
    """A process killed is a zombie first while its other threads end, and its sockets are open."""
    fields = stat(pid)
    if fields is None or fields[0] != "Z":
        return fields is not None
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids, timeout=10):
    return wait.until(lambda: not any(alive(p) for p in pids), f"pids {pids} end", timeout)


