"""Messages to send, and bounces to read."""

import email
import email.policy
import hashlib
import random


def message(subject="hello", body="Hello.\r\n", sender="a@client.test", to="b@dest.test", **fields):
    """A message in canonical form (CR LF), as bytes."""
    lines = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {subject}",
        "Date: Mon, 02 Feb 2026 10:00:00 +0000",
        f"Message-ID: <{hashlib.sha1(repr((subject, body)).encode()).hexdigest()[:16]}@client.test>",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if isinstance(body, str):
        body = body.encode("utf-8")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8") + body


def big_body(size, seed=1):
    """Lines of printable text of many lengths, some beginning with dots."""
    dice = random.Random(seed)
    letters = b"abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,=+-"
    pool = bytes(dice.choices(letters, k=1 << 16))
    parts, total = [], 0
    while total < size:
        length = dice.choice([0, 1, 2, 40, 72, 78, 300, 990])
        at = dice.randrange(len(pool) - length)
        line = dice.choice([b"", b"", b".", b".."]) + pool[at : at + length] + b"\r\n"
        parts.append(line)
        total += len(line)
    return b"".join(parts)


def after_trace(content):
    """A relayed message without the fields relays put in front."""
    lines = content.split(b"\r\n")
    at = 0
    while at < len(lines):
        name = lines[at].split(b":", 1)[0].lower()
        folded = lines[at][:1] in (b" ", b"\t") and at > 0
        if not folded and name not in (b"received", b"return-path"):
            break
        at += 1
    return b"\r\n".join(lines[at:])


class Bounce:
    """A delivery status notification, read by Python's own parser."""

    def __init__(self, content):
        self.message = email.message_from_bytes(content, policy=email.policy.default)
        assert self.message.get_content_type() == "multipart/report", self.message.get_content_type()
        assert self.message.get_param("report-type") == "delivery-status"
        assert not self.message.defects, self.message.defects
        parts = list(self.message.iter_parts())
        assert len(parts) in (2, 3), [p.get_content_type() for p in parts]
        self.text = parts[0].get_content()
        assert parts[1].get_content_type() == "message/delivery-status"
        groups = parts[1].get_payload()
        self.per_message = groups[0]
        self.recipients = groups[1:]
        self.returned = parts[2] if len(parts) == 3 else None

    def recipient(self, address):
        for group in self.recipients:
            if group["Final-Recipient"].split(";", 1)[1].strip().lower() == address.lower():
                return group
        raise AssertionError(f"no group for {address}: {[str(g) for g in self.recipients]}")
