"""A disk that is slow, bad or full below a daemon's state folder."""

import os
import shutil
import subprocess
from pathlib import Path

from lab import BUILD

LIBRARY = BUILD / "tests" / "crash" / "libdisk.so"


class Sync:
    def __init__(self, line):
        self.kind, began, ended, outcome, self.path = line.split(" ", 4)
        self.began, self.ended = int(began) / 1e9, int(ended) / 1e9  # as time.monotonic()
        self.good = outcome == "ok"

    def __repr__(self):
        return f"<{self.kind} {self.path} {self.began:.3f}-{self.ended:.3f}{'' if self.good else ' failed'}>"


class Disk:
    """Give .env to the Relayd whose state folder this is. Kinds: see tests/crash/disk.c."""

    def __init__(self, directory, state):
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        self.control, self.log = directory / "control", directory / "syncs"
        self.log.touch()
        self.log.chmod(0o666)  # the engine is another user
        self.serial = 0
        self.set()
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "DISK_DIR": str(state),
            "DISK_CONTROL": str(self.control),
            "DISK_LOG": str(self.log),
        }

    def set(self, delay=0, failures=0, kind="any"):
        """delay in seconds; failures: so many syncs from now on, -1 for all."""
        self.serial += 1
        fresh = self.control.with_suffix(".new")
        fresh.write_text(f"{int(delay * 1000)} {failures} {kind} {self.serial}\n")
        fresh.chmod(0o644)
        os.replace(fresh, self.control)

    def syncs(self):
        return [Sync(line) for line in self.log.read_text().splitlines()]


class SmallDisk:
    """A tmpfs of its own size; only root may make one."""

    def __init__(self, directory, size, inodes=0):
        """inodes: so many files and folders at most; 0: as many as there is room for."""
        self.path = Path(directory)
        self.path.mkdir(parents=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=0755", "relayd-test", self.path],
            check=True,
            capture_output=True,
        )
        self.filler = self.path / "filler"

    def take_inodes(self):
        self.filler.mkdir()
        for n in range(1_000_000):
            try:
                (self.filler / str(n)).touch()
            except OSError:
                return

    def give_inodes(self):
        shutil.rmtree(self.filler)

    @property
    def free(self):
        vfs = os.statvfs(self.path)
        return vfs.f_bavail * vfs.f_frsize

    def fill(self, leave=0):
        with open(self.filler, "ab", buffering=0) as f:
            while self.free > leave:
                try:
                    f.write(bytes(min(1 << 20, self.free - leave)))
                except OSError:
                    break

    def make_room(self):
        self.filler.unlink(missing_ok=True)

    def stop(self):
        subprocess.run(["umount", self.path], check=False, capture_output=True)


class FailingDisk:
    """An ext4 of its own that turns read-only when told, as after an error of its disk."""

    def __init__(self, folder, size="96M"):
        self.image, self.path = Path(folder) / "image", Path(folder) / "mounted"
        self.path.mkdir(parents=True)
        self.mounted = False
        subprocess.run(["truncate", "-s", size, self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-e", "remount-ro", self.image], check=True, capture_output=True)

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True, capture_output=True)
        self.mounted = True
        self.path.chmod(0o755)

    def fail(self):
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", self.path], check=True, capture_output=True, text=True
        ).stdout.strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1")

    def repair(self):
        """As an admin would: out, checked, in again."""
        self.stop()
        done = subprocess.run(["e2fsck", "-fy", self.image], capture_output=True)
        assert done.returncode < 4, done.stdout
        self.mount()

    def stop(self):
        if self.mounted:
            subprocess.run(["umount", self.path], check=True, capture_output=True)
        self.mounted = False
