#!/usr/bin/env python3
"""What a power cut leaves of a program's files, and whether it starts from that.

  powercut.py record --lib librecord.so --dir D --log L --marks M -- PROGRAM ARGS...
  powercut.py replay --dir D --log L --images N --seed S -- CHECKER ARGS...

`record` runs a program whose changes under the folder D (which must be new)
are logged by record.c. `replay` chooses moments of that log, mostly at the
borders of syncs and promises, and for each builds one of the folders that a
power cut at that moment may leave behind:

  - what was synced is there; of what was written since, any 512-byte sector
    may be there in any of its later versions, and the file may have any of
    its later sizes (a part that was never written reads as zeros);
  - a name made, moved or removed is certain once its folder was synced; until
    then it may or may not have happened.

CHECKER runs with {dir} and {marks} in its arguments replaced by the image and
by a file of all marks (promises) made before the cut; it fails the image by
exiting with anything but 0.

--ignore-sync file|folder|dsync|all acts as a disk that lies about such syncs:
a test of this test, which must then find failures (--expect-failure).
"""

import argparse
import concurrent.futures
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

SECTOR = 512
HEAD = struct.Struct("<IIQQQII")
MAGIC = 0x74756370
(OPEN, WRITE, SIZE, SYNC, SYNCED, DSYNCED, RENAME, UNLINK, MKDIR, MARK, ZERO, LINK,
 FAILED, UNKNOWN) = range(1, 15)


def read_log(path):
    """The records: (type, ino, a, b, path, data)."""
    with open(path, "rb") as f:
        raw = f.read()
    records, at = [], 0
    while at + HEAD.size <= len(raw):
        magic, kind, ino, a, b, path_len, data_len = HEAD.unpack_from(raw, at)
        if magic != MAGIC:
            sys.exit("powercut: the log is damaged")
        at += HEAD.size
        name = raw[at:at + path_len].decode()
        at += path_len
        records.append((kind, ino, a, b, name, raw[at:at + data_len]))
        at += data_len
    return records


class File:
    """Bytes as the program sees them, as the disk holds them for certain, and
    the versions of each sector in between, each with its time."""

    def __init__(self):
        self.now = bytearray()
        self.disk = bytearray()
        self.sectors = {}  # number -> [(time, bytes)]
        self.sizes = []    # [(time, size)]

    def write(self, time, at, data):
        if not data:
            return
        end = at + len(data)
        if end > len(self.now):
            self.now.extend(bytes(end - len(self.now)))
            self.sizes.append((time, end))
        self.now[at:end] = data
        for s in range(at // SECTOR, (end - 1) // SECTOR + 1):
            whole = bytes(self.now[s * SECTOR:(s + 1) * SECTOR]).ljust(SECTOR, b"\0")
            self.sectors.setdefault(s, []).append((time, whole))

    def resize(self, time, size):
        old = len(self.now)
        if size < old:  # what is cut off must not come back
            self.write(time, size, bytes(old - size))
            del self.now[size:]
        elif size > old:
            self.now.extend(bytes(size - old))
        if size != old:
            self.sizes.append((time, size))

    def put(self, image, sector, data):
        at = sector * SECTOR
        if len(image) < at + SECTOR:
            image.extend(bytes(at + SECTOR - len(image)))
        image[at:at + SECTOR] = data

    def settle(self, until, sectors=None):
        """A sync: all versions up to a time are on the disk."""
        size = len(self.disk)
        for time, later in self.sizes:
            if time <= until:
                size = later
        self.sizes = [s for s in self.sizes if s[0] > until]
        for s in list(self.sectors if sectors is None else sectors):
            versions = self.sectors.get(s, [])
            old = [v for v in versions if v[0] <= until]
            if not old:
                continue
            self.put(self.disk, s, old[-1][1])
            rest = versions[len(old):]
            if rest:
                self.sectors[s] = rest
            else:
                del self.sectors[s]
        del self.disk[size:]
        self.disk.extend(bytes(size - len(self.disk)))

    def image(self, choice):
        """One of the contents a cut may leave."""
        size = choice.version(len(self.disk), self.sizes)
        out = bytearray(self.disk)
        for s, versions in self.sectors.items():
            data = choice.version(None, versions)
            if data is not None:
                self.put(out, s, data)
        del out[size:]
        out.extend(bytes(size - len(out)))
        return out


class Folder:
    def __init__(self):
        self.now = {}
        self.disk = {}


class Replay:
    def __init__(self, root, ignore):
        self.prefix = root.rstrip("/")
        self.ignore = ignore
        self.root = Folder()
        self.objects = {}  # by inode, the latest that had it
        self.pending = []  # changes of names: [time, {folders not yet synced}, [(folder, name, object)]]
        self.syncs = {}
        self.marks = bytearray()
        self.time = 0
        self.warned = set()

    def find(self, path):
        """(folder, name) of a path; (None, None) for the root itself."""
        parts = [p for p in path[len(self.prefix):].split("/") if p]
        folder = self.root
        for p in parts[:-1]:
            folder = folder.now[p]
        return (folder, parts[-1]) if parts else (None, None)

    def names(self, *edits):
        for folder, name, thing in edits:
            if thing is None:
                folder.now.pop(name, None)
            else:
                folder.now[name] = thing
        self.pending.append([self.time, {id(f): f for f, _, _ in edits}, list(edits)])

    def sync_folder(self, folder, until):
        rest = []
        for change in self.pending:
            if change[0] <= until:
                change[1].pop(id(folder), None)
            if change[1]:
                rest.append(change)
            else:
                self.apply(change[2])
        self.pending = rest

    @staticmethod
    def apply(edits, maps=None):
        for folder, name, thing in edits:
            entries = folder.disk if maps is None else maps.setdefault(id(folder), dict(folder.disk))
            if thing is None:
                entries.pop(name, None)
            else:
                entries[name] = thing

    def step(self, record):
        kind, ino, a, b, path, data = record
        self.time += 1
        if kind == OPEN:
            folder, name = self.find(path)
            thing = folder.now.get(name)
            if thing is None or self.objects.get(ino) is not thing:
                thing = self.objects[ino] = File()
                self.names((folder, name, thing))
            if a:
                thing.resize(self.time, 0)
        elif kind == WRITE:
            self.objects[ino].write(self.time, a, data)
        elif kind == SIZE:
            self.objects[ino].resize(self.time, a)
        elif kind == ZERO:
            f = self.objects[ino]
            f.write(self.time, a, bytes(max(0, min(b, len(f.now) - a))))
        elif kind == SYNC:
            self.syncs[a] = self.time
        elif kind == SYNCED:
            self.synced(self.objects.get(ino), self.syncs.pop(a))
        elif kind == DSYNCED:
            if self.ignore not in ("dsync", "all"):
                self.objects[ino].settle(self.time, range(a // SECTOR, (a + b - 1) // SECTOR + 1))
        elif kind == RENAME:
            folder, name = self.find(path)
            to, new = self.find(data.decode())
            self.names((folder, name, None), (to, new, folder.now[name]))
        elif kind == LINK:
            folder, name = self.find(path)
            to, new = self.find(data.decode())
            self.names((to, new, folder.now[name]))
        elif kind == UNLINK:
            folder, name = self.find(path)
            if folder is not None:
                self.names((folder, name, None))
        elif kind == MKDIR:
            folder, name = self.find(path)
            self.objects[ino] = self.root if folder is None else Folder()
            if folder is not None:
                self.names((folder, name, self.objects[ino]))
        elif kind == MARK:
            self.marks += data
        elif kind == UNKNOWN and path not in self.warned:
            self.warned.add(path)
            print(f"powercut: the program used {path}, which is not replayed", file=sys.stderr)

    def synced(self, thing, until):
        if isinstance(thing, Folder):
            if self.ignore not in ("folder", "all"):
                self.sync_folder(thing, until)
        elif thing is not None and self.ignore not in ("file", "all"):
            thing.settle(until)

    def build(self, choice, where):
        maps = {}
        for change in self.pending:
            if choice.happened(change[0]):
                self.apply(change[2], maps)
        self.build_folder(self.root, choice, where, maps)

    def build_folder(self, folder, choice, where, maps):
        os.mkdir(where, 0o700)
        for name, thing in maps.get(id(folder), folder.disk).items():
            path = os.path.join(where, name)
            if isinstance(thing, Folder):
                self.build_folder(thing, choice, path, maps)
            else:
                with open(path, "wb") as f:
                    f.write(thing.image(choice))


class Choice:
    """Which of the uncertain changes a cut left: none, all, those before some
    moment, each with some probability, all but those near a moment."""

    def __init__(self, rng, now):
        self.rng = rng
        self.kind = rng.choices(["none", "all", "before", "some", "hole"], [25, 8, 12, 45, 10])[0]
        self.moment = now - int(rng.expovariate(1 / 40))
        self.share = rng.choice([0.02, 0.2, 0.5, 0.8, 0.98])

    def __str__(self):
        return {"before": f"before {self.moment}", "some": f"some {self.share}",
                "hole": f"all but near {self.moment}"}.get(self.kind, self.kind)

    def happened(self, time):
        if self.kind == "before":
            return time <= self.moment
        if self.kind == "hole":
            return abs(time - self.moment) > 2
        if self.kind == "some":
            return self.rng.random() < self.share
        return self.kind == "all"

    def version(self, certain, later):
        """One of a list of (time, value), or what is certain."""
        if self.kind == "some":
            if not later or self.rng.random() >= self.share:
                return certain
            return self.rng.choice(later)[1]
        for time, value in later:
            if self.happened(time):
                certain = value
        return certain


def choose_cuts(records, count, rng):
    borders = set()
    for i, r in enumerate(records):
        if r[0] in (SYNCED, DSYNCED, MARK):
            borders.update((i, i + 1))
    borders = sorted(borders) or [len(records)]
    # What follows a failed write deserves a closer look.
    near = [i for at, r in enumerate(records) if r[0] == FAILED
            for i in range(at, min(at + 40, len(records) + 1))]
    cuts = rng.choices(near, k=count // 2) if near else []
    while len(cuts) < count * 4 // 5:
        cuts += rng.sample(borders, min(len(borders), count * 4 // 5 - len(cuts)))
    while len(cuts) < count:
        cuts.append(rng.randrange(len(records) + 1))
    return sorted(cuts)


def check(command, image, marks):
    argv = [a.replace("{dir}", image).replace("{marks}", marks) for a in command]
    try:
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return p.returncode, p.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        return -1, "no answer within 120 s"


def replay(opt):
    records = read_log(opt.log)
    rng = random.Random(opt.seed)
    cuts = choose_cuts(records, opt.images, rng)
    seeds = [rng.getrandbits(64) for _ in cuts]
    state = Replay(os.path.realpath(opt.dir), opt.ignore_sync)
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    scratch = tempfile.mkdtemp(prefix="powercut-", dir=base)
    failures, at = [], 0

    def finish(number, cut, choice, path, marks):
        code, text = check(opt.command, os.path.join(path, "image"), marks)
        if code != 0:
            failures.append((number, cut, str(choice), code, text))
            if opt.keep and len(failures) <= 5:
                shutil.copytree(path, os.path.join(opt.keep, f"image-{number}"), dirs_exist_ok=True)
        shutil.rmtree(path, ignore_errors=True)

    with concurrent.futures.ThreadPoolExecutor(opt.jobs) as pool:
        running = []
        for number, (cut, seed) in enumerate(zip(cuts, seeds)):
            while at < cut:
                state.step(records[at])
                at += 1
            if opt.image is not None and number != opt.image:
                continue
            if opt.expect_failure and failures:
                break
            choice = Choice(random.Random(seed), state.time)
            path = os.path.join(scratch, str(number))
            os.mkdir(path)
            state.build(choice, os.path.join(path, "image"))
            marks = os.path.join(path, "marks")
            with open(marks, "wb") as f:
                f.write(state.marks)
            running.append(pool.submit(finish, number, cut, choice, path, marks))
            if len(running) > opt.jobs * 2:
                running.pop(0).result()
        for r in running:
            r.result()
    shutil.rmtree(scratch, ignore_errors=True)
    for number, cut, choice, code, text in sorted(failures)[:5]:
        print(f"image {number} (cut at {cut}, left: {choice}) failed with {code}:")
        print("  " + "\n  ".join(text.splitlines()[-8:]))
    done = number + 1 if opt.expect_failure and failures else len(cuts)
    print(f"powercut: {done} images of {len(records)} records, {len(failures)} failed"
          f" (seed {opt.seed}{', syncs ignored: ' + opt.ignore_sync if opt.ignore_sync else ''})")
    return 0 if bool(failures) == opt.expect_failure else 1


def record(opt):
    env = dict(os.environ, LD_PRELOAD=os.path.abspath(opt.lib),
               POWERCUT_DIR=os.path.realpath(opt.dir), POWERCUT_LOG=os.path.abspath(opt.log),
               POWERCUT_MARKS=os.path.realpath(opt.marks))
    env.setdefault("ASAN_OPTIONS", "verify_asan_link_order=0")
    if os.path.exists(opt.dir) and os.listdir(opt.dir):
        sys.exit(f"powercut: {opt.dir} must be new or empty")
    open(opt.marks, "wb").close()
    with open(opt.log, "wb") as log:
        if os.path.exists(opt.dir):  # else the program's own mkdir is recorded
            path = env["POWERCUT_DIR"].encode()
            log.write(HEAD.pack(MAGIC, MKDIR, os.stat(path).st_ino, 0, 0, len(path), 0) + path)
    return subprocess.run(opt.command, env=env).returncode


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = p.add_subparsers(dest="what", required=True)
    for name in ("record", "replay"):
        s = sub.add_parser(name)
        s.add_argument("--dir", required=True)
        s.add_argument("--log", required=True)
        s.add_argument("command", nargs=argparse.REMAINDER)
    s = sub.choices["record"]
    s.add_argument("--lib", required=True)
    s.add_argument("--marks", required=True)
    s = sub.choices["replay"]
    s.add_argument("--images", type=int, default=300)
    s.add_argument("--image", type=int, help="only this one of them")
    s.add_argument("--seed", type=int, default=1)
    s.add_argument("--jobs", type=int, default=2)
    s.add_argument("--keep", help="a folder for the first failing images")
    s.add_argument("--ignore-sync", choices=["file", "folder", "dsync", "all"])
    s.add_argument("--expect-failure", action="store_true")
    opt = p.parse_args()
    if opt.command[:1] == ["--"]:
        opt.command = opt.command[1:]
    if not opt.command:
        p.error("no command given")
    sys.exit(record(opt) if opt.what == "record" else replay(opt))


if __name__ == "__main__":
    main()
