"""A real Postfix, unpacked from its package and run on high ports.

Postfix insists on being root, on an owner of its queue and on a group for its
drop folder. The account "daemon" and the group "mail" exist on every Debian
and own nothing else here.
"""

import grp
import os
import pwd
import signal
import subprocess
from pathlib import Path

from lab import ports, unpack, library_path, wait
from lab.client import until_greeted
from lab.process import Process, descendants

OWNER = "daemon"
SETGID_GROUP = "mail"

QUEUE_FOLDERS = (
    "active bounce corrupt defer deferred flush hold incoming private saved trace maildrop public pid"
).split()

MASTER_CF = """\
{smtpd}    inet  n  -  n  -  -  smtpd
pickup     unix  n  -  n  60 1  pickup
cleanup    unix  n  -  n  -  0  cleanup
qmgr       unix  n  -  n  300 1 qmgr
rewrite    unix  -  -  n  -  -  trivial-rewrite
bounce     unix  -  -  n  -  0  bounce
defer      unix  -  -  n  -  0  bounce
trace      unix  -  -  n  -  0  bounce
verify     unix  -  -  n  -  1  verify
flush      unix  n  -  n  1000? 0 flush
proxymap   unix  -  -  n  -  -  proxymap
proxywrite unix  -  -  n  -  1  proxymap
smtp       unix  -  -  n  -  -  smtp
relay      unix  -  -  n  -  -  smtp
showq      unix  n  -  n  -  -  showq
error      unix  -  -  n  -  -  error
retry      unix  -  -  n  -  -  error
discard    unix  -  -  n  -  -  discard
local      unix  -  n  n  -  -  local
virtual    unix  -  n  n  -  -  virtual
lmtp       unix  -  -  n  -  -  lmtp
anvil      unix  -  -  n  -  1  anvil
scache     unix  -  -  n  -  1  scache
tlsmgr     unix  -  -  n  1000? 1 tlsmgr
postlog    unix-dgram n - n  -  1  postlogd
"""


def available():
    """Why Postfix can't run here, or None."""
    if os.getuid() != 0:
        return "Postfix runs only as root"
    return None


def program(name):
    return unpack("postfix") / "usr/sbin" / name


def environment(root=None):
    root = root or unpack("postfix")
    return {"LD_LIBRARY_PATH": library_path(root)}


class Postfix:
    """One instance below a folder of its own; options are lines of main.cf."""

    def __init__(self, directory, port=None, **options):
        self.root = unpack("postfix")
        self.directory = Path(directory)
        self.port = port or ports.free()
        self.config = self.directory / "conf"
        self.queue = self.directory / "spool"
        self.data = self.directory / "data"
        self.log_file = self.directory / "log"
        self._make_folders()
        settings = {
            "compatibility_level": "3.6",
            "command_directory": self.root / "usr/sbin",
            "daemon_directory": self.root / "usr/lib/postfix/sbin",
            "shlib_directory": self.root / "usr/lib/postfix",
            "queue_directory": self.queue,
            "data_directory": self.data,
            "mail_owner": OWNER,
            "default_privs": "nobody",
            "setgid_group": SETGID_GROUP,
            "sendmail_path": self.root / "usr/sbin/sendmail",
            "meta_directory": self.root / "etc/postfix",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "postfix.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "local_recipient_maps": "",
            "alias_maps": "",
            "alias_database": "",
            "maillog_file": self.log_file,
            "maillog_file_prefixes": self.directory,
            # The children find their libraries through this.
            "import_environment": "MAIL_CONFIG MAIL_DEBUG TZ LANG=C "
            f"LD_LIBRARY_PATH={library_path(self.root)}",
            **options,
        }
        self.settings = settings
        self._write_main()
        (self.config / "master.cf").write_text(MASTER_CF.format(smtpd=f"127.0.0.1:{self.port}"))
        self.env = {**environment(self.root), "MAIL_CONFIG": str(self.config)}
        self.process = None

    def _write_main(self):
        (self.config / "main.cf").write_text(
            "".join(f"{name} = {value}\n" for name, value in self.settings.items())
        )

    def add_environment(self, env):
        """For master and, past its cleaning, for its children."""
        self.env |= env
        self.settings["import_environment"] += "".join(f" {name}={value}" for name, value in env.items())
        self._write_main()

    def _make_folders(self):
        owner, group = pwd.getpwnam(OWNER), grp.getgrnam(SETGID_GROUP)
        for folder in (self.config, self.queue, self.data):
            folder.mkdir(parents=True)
        for path in [self.directory, *self.directory.parents]:
            if path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o005 == 0o005:
                path.chmod(path.stat().st_mode | 0o011)
        os.chown(self.data, owner.pw_uid, owner.pw_gid)
        for name in QUEUE_FOLDERS:
            path = self.queue / name
            path.mkdir()
            if name in ("public", "maildrop"):
                os.chown(path, owner.pw_uid, group.gr_gid)
                path.chmod(0o710 if name == "public" else 0o730)
            elif name != "pid":
                os.chown(path, owner.pw_uid, 0)
                path.chmod(0o700)

    def launch(self):
        master = self.root / "usr/lib/postfix/sbin/master"
        self.process = Process(
            "postfix", [master, "-c", self.config, "-d"], env=self.env, new_session=True
        )

    def start(self):
        self.launch()
        until_greeted(self.port, 20)
        return self

    @property
    def log(self):
        text = self.log_file.read_text() if self.log_file.exists() else ""
        return text + (self.process.log if self.process else "")

    def stop(self):
        if self.process is None:
            return
        pids = descendants(self.process.pid)
        self.process.stop(15)
        for pid in pids:  # children that were busy when master went
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process = None
        ports.release(self.port)

    def run(self, name, *args, check=True):
        return subprocess.run(
            [program(name), *map(str, args)],
            env={**os.environ, **self.env},
            capture_output=True,
            check=check,
            timeout=60,
        )

    # -- what it holds

    def queued(self, *folders):
        """The queue files of these folders (default: hold)."""
        found = []
        for folder in folders or ("hold",):
            found += [p for p in (self.queue / folder).rglob("*") if p.is_file() and p.stat().st_mode & 0o100]
        return found

    def held(self, count=1, timeout=20):
        """The content of the messages on hold, as postcat prints it, once there are `count`."""
        files = wait.until(
            lambda: self.queued("hold") if len(self.queued("hold")) >= count else None,
            lambda: f"{count} held messages\n{self.log}",
            timeout,
        )
        return [self.run("postcat", "-bh", f).stdout for f in files]

    def envelopes(self):
        return [self.run("postcat", "-e", f).stdout.decode() for f in self.queued("hold")]



def smtp_source(port, count, *args, sessions=5, size=4096, sender="src@client.test", to="b@dest.test"):
    """The command line of a load: count messages over so many sessions."""
    return [
        program("smtp-source"),
        "-s", str(sessions), "-m", str(count), "-l", str(size),
        "-f", sender, "-t", to, "-M", "source.test",
        *args,
        f"inet:127.0.0.1:{port}",
    ]  # fmt: skip


def run_smtp_source(port, count, *args, timeout=120, **options):
    return subprocess.run(
        [str(c) for c in smtp_source(port, count, *args, **options)],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class SmtpSink:
    """Postfix's smtp-sink, storing each message in a file of its own (-d)."""

    def __init__(self, directory, *args):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = ports.free()
        command = [program("smtp-sink"), "-c"]
        if os.getuid() == 0:
            command += ["-u", "root"]
        command += ["-d", f"{self.directory}/m.", *args, f"127.0.0.1:{self.port}", "512"]
        self.process = Process("smtp-sink", command, env=environment())
        until_greeted(self.port)

    def files(self):
        return sorted(p for p in self.directory.iterdir() if p.name.startswith("m."))

    def wait(self, count=1, timeout=30):
        wait.until(
            lambda: sum(f.stat().st_size > 0 for f in self.files()) >= count,
            lambda: f"{count} messages at smtp-sink, {len(self.files())} so far",
            timeout,
        )
        return self.files()

    def stop(self):
        self.process.stop()
        ports.release(self.port)
