"""A wall clock of the test's own for a daemon and its children."""

import os
import struct
from pathlib import Path

from lab import BUILD

LIBRARY = BUILD / "tests" / "crash" / "libclock.so"


class Clock:
    """Give .env to the Relayd. Monotonic clocks go on as they are."""

    def __init__(self, file):
        self.file = Path(file)
        self.set(0)
        self.file.chmod(0o644)  # children are other users
        self.env = {"LD_PRELOAD": str(LIBRARY), "CLOCK_OFFSET": str(self.file)}

    def set(self, days):
        """So many days from the true time."""
        fd = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(fd, struct.pack("=q", days * 86_400_000), 0)  # in place: it is mapped
        os.close(fd)
