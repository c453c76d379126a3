"""A real Dovecot, unpacked from its package, of which only the login service is used.

    dovecot = Dovecot(folder, {"user@client.test": "secret"})
    dovecot.socket     for Postfix: smtpd_sasl_type = dovecot, smtpd_sasl_path = this

Postfix asks it over a socket for each step of a login, so what relayd says to
Postfix is understood by a SASL library that is not relayd's.
"""

import os
from pathlib import Path

from lab import library_path, unpack, wait
from lab.process import Process

# Accounts that exist everywhere and own nothing here.
INTERNAL, UNTRUSTED, GROUP = "daemon", "nobody", "daemon"

CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
libexec_dir = {libexec}
import_environment = TZ LD_LIBRARY_PATH={libraries}
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {untrusted}
protocols =
ssl = no
auth_mechanisms = {mechanisms}
auth_verbose = yes
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
service anvil {{
  chroot =
}}
service auth {{
  user = root
  unix_listener auth-postfix {{
    mode = 0666
  }}
}}
"""


class Dovecot:
    def __init__(self, directory, users, mechanisms="plain login scram-sha-256"):
        root = unpack("dovecot-core")
        libexec = root / "usr/lib/dovecot"
        libraries = f"{library_path(root)}:{libexec}:{libexec}/modules/old-stats"
        self.folder = Path(directory)
        self.config = self.folder / "dovecot.conf"
        self.socket = self.folder / "run/auth-postfix"
        (self.folder / "state").mkdir(parents=True)
        self.folder.chmod(0o755)
        (self.folder / "users").write_text("".join(f"{user}:{{PLAIN}}{users[user]}\n" for user in users))
        self.config.write_text(
            CONFIG.format(
                folder=self.folder, libexec=libexec, libraries=libraries, mechanisms=mechanisms,
                internal=INTERNAL, group=GROUP, untrusted=UNTRUSTED,
            )  # fmt: skip
        )
        # dovecot looks for doveconf in /usr/bin to read its configuration; begun by doveconf it has read it.
        self.process = Process(
            "dovecot",
            [root / "usr/bin/doveconf", "-f", "service=master", "-c", self.config, "-m", "master",
             "-e", root / "usr/sbin/dovecot", "-F", "-c", self.config],
            env={"LD_LIBRARY_PATH": libraries},
        )  # fmt: skip
        self.process.wait_for(self.socket.exists, "opens its socket", 20)

    @property
    def log(self):
        return self.process.log

    def wait_log(self, text, timeout=10):
        wait.until(lambda: text in self.log, lambda: f"{text!r} in Dovecot's log:\n{self.log}", timeout)

    def stop(self):
        self.process.stop()


def available():
    """Why Dovecot can't run here, or None."""
    return None if os.getuid() == 0 else "Dovecot runs as several users"
