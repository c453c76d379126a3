"""DNS for the laboratory: nsd with a zone of our own, and a server that misbehaves."""

import os
import shutil
import signal
import socketserver
import struct
import threading
import time

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from lab import ports, unpack, library_path, wait
from lab.process import Process

ZONE = "test."


class Dns:
    """nsd, authoritative for test. and answering SERVFAIL below broken.test."""

    def __init__(self, directory, records=""):
        self.directory = directory
        self.serial = 1
        self.records = records
        self.port = ports.free()
        self.address = f"127.0.0.1:{self.port}"
        self.paused = False
        os.makedirs(directory, exist_ok=True)
        self._write_zone()
        config = directory / "nsd.conf"
        # A zone that is declared but has no file is answered with SERVFAIL.
        config.write_text(
            f"""
server:
    ip-address: 127.0.0.1@{self.port}
    username: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: ""
    logfile: "{directory}/nsd.log"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    xfrdir: "{directory}"
    server-count: 1
    verbosity: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "test."
    zonefile: "test.zone"
zone:
    name: "broken.test."
    zonefile: "missing.zone"
"""
        )
        env = {}
        program = shutil.which("nsd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            root = unpack("nsd")
            program = root / "usr/sbin/nsd"
            env["LD_LIBRARY_PATH"] = library_path(root)
        self.process = Process("nsd", [program, "-d", "-c", config], env=env)
        self.process.wait_for(lambda: self._answers_serial(), "answers", 15)

    def _write_zone(self):
        text = (
            f"$ORIGIN {ZONE}\n$TTL 1\n"
            f"@ SOA ns.{ZONE} admin.{ZONE} {self.serial} 60 60 600 1\n@ NS ns.{ZONE}\nns A 127.0.0.1\n"
            f"{self.records}\n"
        )
        fresh = self.directory / "test.zone.new"
        fresh.write_text(text)
        os.replace(fresh, self.directory / "test.zone")

    def _answers_serial(self):
        try:
            answer = self.query(ZONE, "SOA", timeout=1)
        except (dns.exception.DNSException, OSError):
            return False
        return bool(answer.answer) and answer.answer[0][0].serial == self.serial

    def query(self, name, kind, timeout=5):
        question = dns.message.make_query(name, kind)
        return dns.query.udp(question, "127.0.0.1", port=self.port, timeout=timeout)

    def update(self, records):
        """Replaces all records; returns once they are served."""
        self.records = records
        self.serial += 1
        self._write_zone()

        def served():
            self.process.kill(signal.SIGHUP)
            return self._answers_serial()

        wait.until(served, "nsd serves the new zone", 20, step=0.3)
        # For a moment the server of before the reload may still take questions.
        wait.until(self._answers_steadily, "nsd serves nothing but the new zone", 20)

    def _answers_steadily(self):
        for _ in range(20):
            if not self._answers_serial():
                return False
            time.sleep(0.01)
        return True

    def pause(self):
        """Silence: questions arrive and nobody answers."""
        self.paused = True
        self.process.kill_group(signal.SIGSTOP)

    def resume(self):
        self.paused = False
        self.process.kill_group(signal.SIGCONT)

    def stop(self):
        if self.paused:
            self.resume()
        self.process.stop()
        self.process.kill_group(signal.SIGKILL)
        ports.release(self.port)


class FakeDns:
    """Answers as told, name by name, over UDP and TCP.

    fake.answer("dest.test", "MX", "10 mx.dest.test.")     records
    fake.rcode("dest.test", "MX", "SERVFAIL")               an error
    fake.script("dest.test", "MX", function)                function(query, over_tcp) returns a
                                                            message, bytes, None for silence
    Questions for anything else get `default` ("NXDOMAIN", or another rcode, or None: silence).
    """

    def __init__(self, default="NXDOMAIN"):
        self.default = default
        self.asked = []  # (name, type, over_tcp)
        self._rules = {}
        self._closing = threading.Event()
        self.port = ports.free()
        self.address = f"127.0.0.1:{self.port}"
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                reply = outer._reply(data, False)
                if reply is not None:
                    sock.sendto(reply, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                while True:
                    head = self.rfile.read(2)
                    if len(head) < 2:
                        return
                    data = self.rfile.read(struct.unpack("!H", head)[0])
                    reply = outer._reply(data, True)
                    if reply is None:
                        outer._closing.wait(60)
                        return
                    self.wfile.write(struct.pack("!H", len(reply)) + reply)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._servers = [
            socketserver.ThreadingUDPServer(("127.0.0.1", self.port), Udp),
            socketserver.ThreadingTCPServer(("127.0.0.1", self.port), Tcp),
        ]
        for server in self._servers:
            server.daemon_threads = True
            server.block_on_close = False
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def _key(name, kind):
        return name.rstrip(".").lower(), kind.upper()

    def script(self, name, kind, function):
        self._rules[self._key(name, kind)] = function

    def answer(self, name, kind, *values, ttl=1, late=0):
        def make(query, over_tcp):
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.AA | dns.flags.RA
            if values:
                question = query.question[0]
                reply.answer.append(dns.rrset.from_text(question.name, ttl, "IN", kind, *values))
            if late:
                self._closing.wait(late)
            return reply

        self.script(name, kind, make)

    def rcode(self, name, kind, rcode):
        def make(query, over_tcp):
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.from_text(rcode))
            return reply

        self.script(name, kind, make)

    def silence(self, name, kind):
        self.script(name, kind, lambda query, over_tcp: None)

    def forget(self, name, kind):
        self._rules.pop(self._key(name, kind), None)

    def _reply(self, data, over_tcp):
        try:
            query = dns.message.from_wire(data)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        name = question.name.to_text().rstrip(".").lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, over_tcp))
        rule = self._rules.get((name, kind))
        if rule is not None:
            reply = rule(query, over_tcp)
        elif self.default is None:
            reply = None
        else:
            reply = dns.message.make_response(query)
            known = any(key[0] == name for key in self._rules)
            reply.set_rcode(dns.rcode.NOERROR if known else dns.rcode.from_text(self.default))
            reply.flags |= dns.flags.AA
        if reply is None or isinstance(reply, bytes):
            return reply
        return reply.to_wire(max_size=65535 if over_tcp else 1232)

    def stop(self):
        self._closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        ports.release(self.port)


