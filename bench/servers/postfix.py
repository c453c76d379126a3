"""Debian's Postfix, unpacked.

Its defaults but for in_flow_delay = 0, which would slow its input down while
the queue manager is behind, no chroot, and no DNS for its next hops. To hold
is smtpd_client_restrictions = static:HOLD: that is kinder than deferring the
transport, which would let its queue manager read and move each message. Its
logs go through its own postlogd. It signs by Debian's opendkim as a milter.
"""

import socket

from lab import library_path, ports, postfix, unpack
from lab.process import Process
from servers.base import Server
from servers.relayd import make_key


class OpenDkim:
    """Debian's, as a milter that signs for the domain smtp-source sends from."""

    def __init__(self, directory):
        directory.mkdir()
        self.port = ports.free()
        root = unpack("opendkim")
        key = make_key(directory, "rsa")
        config = directory / "opendkim.conf"
        config.write_text(
            f"Socket inet:{self.port}@127.0.0.1\nMode s\nBackground no\nSyslog no\n"
            f"Domain client.test\nSelector bench\nKeyFile {key}\nCanonicalization relaxed/relaxed\n"
            f"SignatureAlgorithm rsa-sha256\nOversignHeaders From\nInternalHosts 127.0.0.1\n"
            f"RequireSafeKeys no\n"
        )
        self.process = Process(
            "opendkim",
            [root / "usr/sbin/opendkim", "-f", "-x", config],
            env={"LD_LIBRARY_PATH": library_path(root)},
        )
        self.process.wait_for(lambda: not self._port_is_free(), "listens", 15)

    def _port_is_free(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) != 0

    def stop(self):
        self.process.stop()
        ports.release(self.port)


class PostfixServer(Server):
    name = "postfix"

    @staticmethod
    def missing():
        return postfix.available()

    def __init__(self, place, setting):
        options = {
            "in_flow_delay": "0",
            "smtp_dns_support_level": "disabled",
            "message_size_limit": "50000000",
            "smtpd_recipient_limit": "10000",
        }
        if setting.hold:
            options["smtpd_client_restrictions"] = "static:HOLD"
        else:
            options["relayhost"] = f"[127.0.0.1]:{setting.port}"
        if setting.ways:
            table = ", ".join(f"{{{d} = smtp:[{a}]:{p}}}" for d, (a, p) in setting.ways.items())
            options["transport_maps"] = f"inline:{{ {table} }}"
        self.signer = OpenDkim(place / "opendkim") if setting.signed else None
        if self.signer:
            options["smtpd_milters"] = f"inet:127.0.0.1:{self.signer.port}"
            options["milter_default_action"] = "tempfail"
        self.postfix = postfix.Postfix(place / "postfix", **options)
        self.postfix.add_environment(setting.environment())

    @property
    def port(self):
        return self.postfix.port

    @property
    def pids(self):
        return [self.postfix.process.pid] + ([self.signer.process.pid] if self.signer else [])

    @property
    def state(self):
        return self.postfix.queue

    def start(self):
        self.postfix.start()
        return self

    def launch(self):
        self.postfix.launch()

    def forget(self):
        self.postfix.process.popen.wait()

    def stop(self):
        self.postfix.stop()
        if self.signer:
            self.signer.stop()

    def listing(self):
        command = [postfix.program("postqueue"), "-c", self.postfix.config, "-p"]
        return command, self.postfix.env, rb"^[0-9A-F]{6,}[*!]? "
