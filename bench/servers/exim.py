"""Debian's Exim (exim4-daemon-light), unpacked.

It looks its own account "Debian-exim" up before it reads its configuration. So
it runs in a mount namespace of its own, with lists of accounts that have one.
Nothing is throttled, and the spool is split. To hold is queue_only.
"""

import grp
import os
import pwd
import signal

from lab import library_path, ports, unpack
from lab.client import until_greeted
from lab.process import Process
from servers.base import Server

OWNER, GROUP = "daemon", "mail"

CONFIG = """\
exim_path = {program}
exim_user = {owner}
exim_group = {group}
never_users =
keep_environment = ^DISK_
primary_hostname = exim.test
spool_directory = {place}/spool
log_file_path = {place}/log/%slog
pid_file_path = {place}/pid
split_spool_directory = true
acl_smtp_rcpt = accept
acl_smtp_data = accept
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 512
recipients_max = 0
message_size_limit = 50M
{main}
begin routers
{routers}
begin transports
out:
  driver = smtp
  hosts_try_chunking =
  max_rcpt = 1000
  allow_localhost
begin retry
* * F,2h,1m
"""

ROUTER = """\
{name}:
  driver = manualroute
  domains = {domain}
  route_list = * {address}::{port}
  transport = out
  self = send
"""

# Files bound over the lists of accounts, where only this process tree sees them.
START = """\
mount --bind {place}/passwd /etc/passwd
mount --bind {place}/group /etc/group
export LD_LIBRARY_PATH={libraries}
exec "$@"
"""


class EximServer(Server):
    name = "exim"

    @staticmethod
    def missing():
        return "Exim needs an account of its own, which only root can give it" if os.getuid() != 0 else None

    def __init__(self, place, setting):
        self.place, self.setting = place / "exim", setting
        self.root = unpack("exim4-daemon-light")
        self.program = self.root / "usr/sbin/exim4"
        self.port = ports.free()
        self.process = None
        self._make_folders()
        ways = dict(setting.ways)
        if setting.port:
            ways["*"] = ("127.0.0.1", setting.port)
        self.config = self.place / "conf"
        self.config.write_text(
            CONFIG.format(
                program=self.program,
                owner=OWNER,
                group=GROUP,
                place=self.place,
                port=self.port,
                main="queue_only" if setting.hold else "",
                routers="".join(
                    ROUTER.format(name=f"way{n}", domain=domain, address=address, port=port)
                    for n, (domain, (address, port)) in enumerate(ways.items())
                ),
            )
        )

    def _make_folders(self):
        owner, group = pwd.getpwnam(OWNER), grp.getgrnam(GROUP)
        self.place.mkdir()
        for name in ("spool", "log"):
            (self.place / name).mkdir()
            os.chown(self.place / name, owner.pw_uid, group.gr_gid)
        accounts = open("/etc/passwd").read() + f"Debian-exim:x:{owner.pw_uid}:{group.gr_gid}::/nonexistent:/bin/false\n"
        groups = open("/etc/group").read() + f"Debian-exim:x:{group.gr_gid}:\n"
        (self.place / "passwd").write_text(accounts)
        (self.place / "group").write_text(groups)
        (self.place / "begin").write_text(START.format(place=self.place, libraries=library_path(self.root)))

    def _command(self, *args):
        return ["unshare", "-m", "sh", "-e", self.place / "begin", self.program, "-C", self.config, *args]

    @property
    def pids(self):
        return [self.process.pid]

    @property
    def state(self):
        return self.place / "spool"

    def launch(self):
        self.process = Process("exim", self._command("-bdf", "-q1m"), env=self.setting.environment())

    def start(self):
        self.launch()
        until_greeted(self.port, 20)
        return self

    def forget(self):
        self.process.popen.wait()

    def stop(self):
        self.process.kill_group(signal.SIGTERM)
        self.process.stop(15)
        ports.release(self.port)

    def listing(self):
        return self._command("-bp"), {}, rb"^ *[0-9]+[a-z] "
