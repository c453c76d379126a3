"""An SMTP client that sends exactly the bytes it is told."""

import re
import socket
import time

from lab import wait

QUEUED_AS = re.compile(r"queued as ([0-9A-Fa-f]+)")


class Reply:
    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        self.text = "\n".join(line[4:] for line in lines)

    @property
    def enhanced(self):
        match = re.match(r"([245]\.\d+\.\d+)", self.text)
        return match.group(1) if match else None

    @property
    def queue_id(self):
        match = QUEUED_AS.search(self.text)
        return match.group(1) if match else None

    def __repr__(self):
        return f"<{self.code} {self.text!r}>"


class Client:
    """with Client(port) as c: c.ehlo(); c.command("MAIL FROM:<a@b>") ..."""

    def __init__(self, port, host="127.0.0.1", source=None, greet=True, timeout=30):
        self.sock = socket.create_connection(
            (host, port), timeout * wait.FACTOR, (source, 0) if source else None
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.greeting = self.reply() if greet else None
        self.extensions = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("utf-8") if isinstance(data, str) else data)

    def send_slowly(self, data):
        """A byte a segment."""
        for byte in data if isinstance(data, bytes) else data.encode("utf-8"):
            self.sock.sendall(bytes([byte]))

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(f"closed after {self.buffer!r}")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        assert line.endswith(b"\r"), f"reply line without CR: {line!r}"
        return line[:-1].decode("utf-8")

    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        assert all(re.match(r"\d{3}([ -]|$)", text) for text in lines), lines
        return Reply(lines)

    def command(self, text):
        self.send(text if isinstance(text, bytes) else text + "\r\n")
        return self.reply()

    def ehlo(self, name="client.test"):
        reply = self.command(f"EHLO {name}")
        self.extensions = {}
        for line in reply.lines[1:]:
            word, _, rest = line[4:].partition(" ")
            self.extensions[word.upper()] = rest
        return reply

    def transaction(self, sender, recipients, content, mail_args="", rcpt_args=""):
        """The reply that ended it: to the final dot, or the first refusal."""
        if isinstance(recipients, str):
            recipients = [recipients]
        reply = self.command(f"MAIL FROM:<{sender}>" + (f" {mail_args}" if mail_args else ""))
        if reply.code != 250:
            return reply
        for recipient in recipients:
            reply = self.command(f"RCPT TO:<{recipient}>" + (f" {rcpt_args}" if rcpt_args else ""))
            if reply.code != 250:
                return reply
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        return self.data(content)

    def data(self, content):
        """Content in canonical form, dots stuffed, and the final dot."""
        if isinstance(content, str):
            content = content.encode("utf-8")
        if content.startswith(b"."):
            content = b"." + content
        content = content.replace(b"\r\n.", b"\r\n..")
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        self.send(content + b".\r\n")
        return self.reply()

    def closed(self, timeout=10):
        """Whether the other side closes within the time, saying nothing more."""
        self.sock.settimeout(timeout * wait.FACTOR)
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def quit(self):
        reply = self.command("QUIT")
        self.close()
        return reply


def send(port, sender, recipients, content, **args):
    """One message over a connection of its own; its last reply."""
    with Client(port, source=args.pop("source", None)) as client:
        client.ehlo()
        reply = client.transaction(sender, recipients, content, **args)
        client.send("QUIT\r\n")
        return reply


def until_greeted(port, timeout=10):
    def greeted():
        try:
            with Client(port, timeout=5) as client:
                # What follows may count connections: this one is over first.
                client.send("QUIT\r\n")
                while client.sock.recv(4096):
                    pass
                return client.greeting
        except (OSError, EOFError):
            time.sleep(0.02)
            return None

    return wait.until(greeted, f"a greeting on port {port}", timeout)
