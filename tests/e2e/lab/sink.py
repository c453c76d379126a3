"""The far end: an SMTP server that stores mail, and misbehaves on request.

Every step of a session has a name: connect ehlo helo starttls auth mail rcpt
data eod bdat rset noop vrfy quit, content (once, after 354, before the content
is read) and handshake (instead of TLS). A script for a step decides the answer:

    sink.on("rcpt", "450 4.7.1 come back later")         always
    sink.on("eod", ["451 4.3.0 no", None])               one each, then as usual
    sink.on("rcpt", lambda s, arg: "550 no" if b"bad" in arg else None)

An answer is text (CR LF is added), bytes (sent as they are), CLOSE, RESET,
HANG (silence until the peer leaves or the sink stops), Then(text, CLOSE), Slow
(seconds, answer), or None for what a good server would say.

With `tls`, an SSL context (lab/pki.py), it offers STARTTLS, or begins with TLS
when `implicit`. With `logins` {user: password} or `tokens` {user: token} it
offers `mechanisms`, under TLS unless `auth_in_clear`, and wants a login.
"""

import base64
import dataclasses
import hashlib
import hmac
import os
import re
import socket
import ssl
import struct
import threading
import time

from lab import wait

CLOSE = object()
RESET = object()
HANG = object()

BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclasses.dataclass
class Then:
    text: object
    action: object


@dataclasses.dataclass
class Slow:
    seconds: float
    answer: object


@dataclasses.dataclass
class Message:
    helo: str
    mail_from: str
    mail_args: str
    recipients: list  # addresses
    recipient_args: list
    content: bytes  # dots unstuffed
    connection: int
    at: float
    peer: tuple
    tls: str = None  # the version, or None in the clear
    login: str = None  # who sent it
    resumed: bool = False

    @property
    def header(self):
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n"

    @property
    def body(self):
        return self.content.partition(b"\r\n\r\n")[2]


class Closed(Exception):
    pass


def positive(answer):
    """Whether an answer, once sent, takes the message."""
    if isinstance(answer, Slow):
        return positive(answer.answer)
    if isinstance(answer, Then):
        return positive(answer.text)
    if isinstance(answer, str):
        return answer.startswith("2")
    return isinstance(answer, bytes) and answer.startswith(b"2")


class Session:
    def __init__(self, sink, sock, number, peer):
        self.sink, self.sock, self.number, self.peer = sink, sock, number, peer
        self.buffer = b""
        self.helo = ""
        self.tls = None
        self.resumed = False
        self.login = None
        self.mechanism = None
        self.commands = []
        self.reset()

    def reset(self):
        self.mail_from = None
        self.mail_args = ""
        self.recipients = []
        self.recipient_args = []
        self.chunks = b""

    # -- bytes

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed
        self.buffer += data

    def line(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        if not line.endswith(b"\r"):
            self.sink.violations.append(f"command ends in bare LF: {line!r}")
        return line.rstrip(b"\r")

    def content(self):
        """The content up to CR LF . CR LF, and only that."""
        taken = bytearray(self.buffer)
        searched = 0
        while True:
            if taken.startswith(b".\r\n"):
                end, after = 0, 3
                break
            end = taken.find(b"\r\n.\r\n", max(0, searched - 4))
            if end >= 0:
                end, after = end + 2, end + 5
                break
            searched = len(taken)
            self.buffer = b""
            self.fill()
            taken += self.buffer
        raw, self.buffer = bytes(taken[:end]), bytes(taken[after:])
        if not raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n"):
            self.sink.violations.append(f"bare CR or LF in content: {BARE.search(raw)}")
        if raw.startswith(b"."):
            raw = raw[1:]
        return raw.replace(b"\r\n.", b"\r\n")

    def send(self, text):
        if isinstance(text, str):
            text = text.encode("utf-8") + b"\r\n"
        self.sock.sendall(text)

    # -- one step

    def say(self, step, argument, usual):
        """Sends the scripted or the usual answer; True if it was positive."""
        answer = self.sink.scripted(step, self, argument)
        if answer is None:
            answer = usual() if callable(usual) else usual
        return self.act(answer)

    def act(self, answer):
        if isinstance(answer, Slow):
            self.sink.stopping.wait(answer.seconds)
            return self.act(answer.answer)
        if isinstance(answer, Then):
            self.send(answer.text)
            return self.act(answer.action)
        if answer is CLOSE:
            raise Closed
        if answer is RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Closed
        if answer is HANG:
            self.hang()
        self.send(answer)
        return positive(answer) or answer[:1] in ("3", b"3")

    def hang(self):
        self.sink.hanging.append(self.number)
        self.sock.settimeout(0.1)
        while not self.sink.stopping.is_set():
            try:
                if not self.sock.recv(65536):
                    break
            except socket.timeout:
                continue
        raise Closed

    def store(self, content):
        return Message(
            self.helo,
            self.mail_from,
            self.mail_args,
            self.recipients,
            self.recipient_args,
            content,
            self.number,
            time.monotonic(),
            self.peer,
            self.tls,
            self.login,
            self.resumed,
        )

    def end_of_message(self, content):
        message = self.store(content)
        self.sink.seen.append(message)
        answer = self.sink.scripted("eod", self, message)
        if answer is None:
            answer = "250 2.0.0 taken"
        if positive(answer):
            self.sink.accept(message)  # first: whoever reads the answer may look
        self.act(answer)
        self.reset()

    # -- the dialogue

    def run(self):
        if self.sink.implicit:
            self.handshake()
        self.say("connect", None, f"220 {self.sink.name} ESMTP sink")
        while True:
            line = self.line()
            self.commands.append(line)
            verb, _, argument = line.partition(b" ")
            verb = verb.decode("ascii", "replace").lower()
            if verb == "auth" and self.tls is None and not self.sink.auth_in_clear:
                self.sink.violations.append("AUTH in the clear")
            method = getattr(self, "do_" + verb, None)
            if method is None:
                self.send("500 5.5.2 unknown command")
            else:
                method(argument)

    def greeting(self):
        lines = [self.sink.name, *self.sink.extensions]
        if self.sink.tls is not None and self.tls is None:
            lines.append("STARTTLS")
        if self.sink.wants_login and (self.tls is not None or self.sink.auth_in_clear):
            lines.append("AUTH " + self.sink.mechanisms)
        last = len(lines) - 1
        return "\r\n".join(f"250{' ' if i == last else '-'}{t}" for i, t in enumerate(lines))

    def do_ehlo(self, argument):
        self.reset()
        if self.say("ehlo", argument, self.greeting):
            self.helo = argument.decode("utf-8", "replace")

    def do_helo(self, argument):
        self.reset()
        if self.say("helo", argument, f"250 {self.sink.name}"):
            self.helo = argument.decode("utf-8", "replace")

    def handshake(self):
        answer = self.sink.scripted("handshake", self, None)
        if answer is not None:
            self.fill()  # the client's first word: what comes before it is an injection
            self.act(answer)
            raise Closed
        self.sock = self.sink.tls.wrap_socket(self.sock, server_side=True)
        self.tls = self.sock.version()
        self.resumed = self.sock.session_reused
        self.buffer = b""
        self.reset()
        self.helo = ""

    def do_starttls(self, argument):
        if self.sink.tls is None or self.tls is not None:
            self.send("502 5.5.1 no")
        elif self.say("starttls", argument, "220 2.0.0 go"):
            self.handshake()

    # -- logging in

    def ask(self, challenge):
        """The response to a challenge, both in the clear; None: cancelled."""
        self.send("334 " + base64.b64encode(challenge).decode())
        line = self.line()
        return None if line == b"*" else base64.b64decode(line, validate=True)

    def check_password(self, user, password):
        known = self.sink.logins.get(user.decode())
        return user.decode() if known is not None and password.decode() == known else None

    def auth_plain(self, first):
        response = self.ask(b"") if first is None else first
        _, user, password = response.split(b"\0")
        return self.check_password(user, password)

    def auth_login(self, first):
        user = self.ask(b"Username:")
        return self.check_password(user, self.ask(b"Password:"))

    def auth_xoauth2(self, first):
        response = self.ask(b"") if first is None else first
        fields = dict(f.split(b"=", 1) for f in response.split(b"\1") if f)
        user = fields[b"user"].decode()
        if fields[b"auth"] == b"Bearer " + self.sink.tokens.get(user, "").encode():
            return user
        assert self.ask(b'{"status":"400","schemes":"Bearer"}') == b""
        return None

    def auth_scram(self, first, plus=False):
        first = self.ask(b"") if first is None else first
        header, user, nonce = re.match(rb"((?:n|y|p=tls-exporter),,)n=([^,]*),r=(.*)$", first).groups()
        password = self.sink.logins.get(user.decode(), "nobody's").encode()
        salt, count = os.urandom(12), 4096
        nonce += base64.b64encode(os.urandom(12))
        server_first = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), count)
        final = self.ask(server_first)
        if final is None:
            return None
        bare, _, proof = final.rpartition(b",p=")
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, count)
        message = first[len(header) :] + b"," + server_first + b"," + bare
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        expected = bytes(a ^ b for a, b in zip(client_key, signature))
        if base64.b64decode(proof) != expected or b"c=" + base64.b64encode(header) not in bare:
            return None
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        if self.ask(b"v=" + base64.b64encode(hmac.digest(server_key, message, "sha256"))) != b"":
            return None
        return user.decode()

    def do_auth(self, argument):
        words = argument.decode().split()
        method = {
            "PLAIN": self.auth_plain,
            "LOGIN": self.auth_login,
            "XOAUTH2": self.auth_xoauth2,
            "SCRAM-SHA-256": self.auth_scram,
        }.get(words[0])
        answer = self.sink.scripted("auth", self, argument)
        if answer is not None:
            self.act(answer)
            return
        if method is None:
            self.send("504 5.5.4 unknown mechanism")
            return
        self.mechanism = words[0]
        self.login = method(base64.b64decode(words[1], validate=True) if len(words) > 1 else None)
        self.send("235 2.7.0 welcome" if self.login else "535 5.7.8 who are you?")

    @staticmethod
    def path(argument):
        match = re.match(rb"(?i)(?:from|to):\s*<([^>]*)>\s*(.*)$", argument)
        if not match:
            return None, ""
        return match.group(1).decode("utf-8", "replace"), match.group(2).decode("utf-8", "replace")

    def do_mail(self, argument):
        path, args = self.path(argument)
        if path is None:
            self.send("501 5.5.4 MAIL FROM:<path>")
        elif self.mail_from is not None:
            self.send("503 5.5.1 nested MAIL")
        elif self.sink.wants_login and self.login is None:
            self.send("530 5.7.0 log in first")
        elif self.say("mail", argument, "250 2.1.0 ok"):
            self.mail_from, self.mail_args = path, args

    def do_rcpt(self, argument):
        path, args = self.path(argument)
        if path is None:
            self.send("501 5.5.4 RCPT TO:<path>")
        elif self.mail_from is None:
            self.send("503 5.5.1 MAIL first")
        elif self.say("rcpt", argument, "250 2.1.5 ok"):
            self.recipients.append(path)
            self.recipient_args.append(args)

    def do_data(self, argument):
        if not self.recipients:
            self.send("503 5.5.1 RCPT first" if self.mail_from is None else "554 5.5.1 no recipients")
        elif self.say("data", argument, "354 go on"):
            answer = self.sink.scripted("content", self, None)
            if answer is not None:
                self.act(answer)
            self.end_of_message(self.content())

    def do_bdat(self, argument):
        words = argument.split()
        size, last = int(words[0]), words[-1].upper() == b"LAST"
        while len(self.buffer) < size:
            self.fill()
        self.chunks += self.buffer[:size]
        self.buffer = self.buffer[size:]
        if not self.recipients:
            self.send("503 5.5.1 RCPT first")
        elif last:
            self.end_of_message(self.chunks)
        elif not self.say("bdat", argument, "250 2.0.0 chunk taken"):
            self.reset()  # RFC 3030 section 2: the message is lost, chunks to come belong to none

    def do_rset(self, argument):
        if self.say("rset", argument, "250 2.0.0 ok"):
            self.reset()

    def do_noop(self, argument):
        self.say("noop", argument, "250 2.0.0 ok")

    def do_vrfy(self, argument):
        self.say("vrfy", argument, "252 2.0.0 perhaps")

    def do_quit(self, argument):
        self.say("quit", argument, "221 2.0.0 bye")
        raise Closed


class Sink:
    EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 104857600", "ENHANCEDSTATUSCODES")

    def __init__(
        self,
        host="127.0.0.1",
        port=0,
        name="sink.test",
        extensions=EXTENSIONS,
        tls=None,
        implicit=False,
        logins=None,
        tokens=None,
        mechanisms="PLAIN LOGIN",
        auth_in_clear=False,
    ):
        self.name = name
        self.extensions = extensions
        self.tls, self.implicit = tls, implicit
        self.logins, self.tokens = logins or {}, tokens or {}
        self.mechanisms, self.auth_in_clear = mechanisms, auth_in_clear
        self.wants_login = bool(logins or tokens)
        self.messages = []  # answered positively
        self.seen = []  # arrived whole, whatever the answer
        self.violations = []  # what no sender may ever do
        self.sessions = []
        self.hanging = []
        self.stopping = threading.Event()
        self._scripts = {}
        self._lock = threading.Lock()
        self._listener = None
        self._address = (host, port)
        self.start()
        self.host, self.port = self._address

    def start(self):
        """Listens (again): connections are refused between stop() and start()."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._address)
        listener.listen(512)
        self._address = listener.getsockname()[:2]
        self._listener = listener
        self.stopping.clear()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self):
        self.stopping.set()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            except OSError:
                pass
            listener.close()
        for session in list(self.sessions):
            try:
                session.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def connections(self):
        return len(self.sessions)

    def _accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                session = Session(self, sock, len(self.sessions) + 1, peer)
                self.sessions.append(session)
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    @staticmethod
    def _serve(session):
        try:
            session.run()
        except (Closed, OSError, ssl.SSLError):
            pass
        finally:
            session.sock.close()

    def on(self, step, script):
        self._scripts[step] = list(script) if isinstance(script, (list, tuple)) else script

    def scripted(self, step, session, argument):
        with self._lock:
            script = self._scripts.get(step)
            if isinstance(script, list):
                return script.pop(0) if script else None
        return script(session, argument) if callable(script) else script

    def accept(self, message):
        with self._lock:
            self.messages.append(message)

    def wait(self, count=1, timeout=15):
        """The messages, once there are `count`."""
        wait.until(
            lambda: len(self.messages) >= count,
            lambda: f"{count} messages at {self.name}, {len(self.messages)} so far",
            timeout,
        )
        return list(self.messages)
