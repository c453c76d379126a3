"""relayd. Where there are ways by domain their names come from DNS, a real nsd's;
the peers are told theirs by a table, for they know no other port of a name server."""

import subprocess

from lab import RELAYCTL, RELAYD
from lab import relayd as lab_relayd
from lab.dns import Dns
from lab.process import Process
from lab.relayd import Relayd
from servers.base import Server


def make_key(directory, kind):
    path = directory / f"{kind}.pem"
    args = ["-algorithm", kind.upper()] + (["-pkeyopt", "rsa_keygen_bits:2048"] if kind == "rsa" else [])
    subprocess.run(["openssl", "genpkey", *args, "-out", path], check=True, capture_output=True)
    path.chmod(0o600)
    return path


class RelaydServer(Server):
    name = "relayd"
    keys = ("rsa",)

    @staticmethod
    def missing():
        return lab_relayd.available()

    def __init__(self, place, setting):
        extra, routes, names = "", "route default hold", {}
        if not setting.hold:
            extra = f"smarthost sink {{ host 127.0.0.1:{setting.port}; tls none }}"
            routes = "route default via sink"
        if setting.signed:
            lines = [f"dkim selector {k} key_file {make_key(place, k)}" for k in self.keys]
            extra += "\ndomain client.test {\n" + "\n".join(lines) + "\n}"
        self.dns = None
        if setting.ways:
            (mx_port,) = {port for _, port in setting.ways.values()}
            routes = "".join(f"route to {domain} direct\n" for domain in setting.ways) + routes
            self.dns = Dns(place / "dns", records(setting.ways))
            names = {"resolver": self.dns.address, "mx_port": mx_port}
        self.relayd = Relayd(
            place / "relayd",
            routes=routes,
            extra=extra,
            limits="connections_per_client unlimited; recipients 10000; message_size 50M",
            delivery="loopback_mx allow",
            retry="first 1m",
            loops="auto",
            env=setting.environment(),
            **names,
        )

    @property
    def port(self):
        return self.relayd.port

    @property
    def pids(self):
        return [self.relayd.process.pid]

    @property
    def state(self):
        return self.relayd.state

    def start(self):
        self.relayd.start(120)
        return self

    def launch(self):
        self.relayd.process = Process("relayd", [RELAYD, "-c", self.relayd.file], env=self.relayd.env)

    def forget(self):
        self.relayd.process.popen.wait()

    def stop(self):
        self.relayd.stop(60)
        if self.dns:
            self.dns.stop()

    def listing(self):
        return [RELAYCTL, "-c", self.relayd.file, "queue"], {}, rb"^[0-9a-f]{16} "


class RelaydBothServer(RelaydServer):
    """With a second signature."""

    name = "relayd-both"
    keys = ("rsa", "ed25519")


def records(ways):
    """An MX for each domain of test., named for the address it leads to."""
    hosts = sorted({address for address, _ in ways.values()})
    label = {address: f"mx-{address.replace('.', '-')}" for address in hosts}
    lines = [f"{label[address]} 3600 A {address}" for address in hosts]
    for domain, (address, _) in ways.items():
        lines.append(f"{domain.removesuffix('.test')} 3600 MX 10 {label[address]}.test.")
    return "\n".join(lines)
