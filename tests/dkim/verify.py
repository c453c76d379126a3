#!/usr/bin/python3
"""Checks the DKIM signatures of a message from standard input against the DNS
server at a port of this machine, and prints a line for each.

verify.py PORT < MESSAGE
Exit code: 0 when there are signatures and all are good.
"""

import sys

import dkim
import dns.exception
import dns.message
import dns.query
import dns.rdatatype


def main():
    port = int(sys.argv[1])
    content = sys.stdin.buffer.read()

    def record(name, timeout=5):
        query = dns.message.make_query(name.decode(), dns.rdatatype.TXT)
        answer = dns.query.udp(query, "127.0.0.1", port=port, timeout=timeout)
        for rrset in answer.answer:
            for txt in rrset:
                return b"".join(txt.strings)
        return None

    seen = dkim.DKIM(content)
    count = sum(name.lower() == b"dkim-signature" for name, _ in seen.headers)
    good = 0
    for index in range(count):
        checker = dkim.DKIM(content)
        problem = "does not verify"
        try:
            valid = checker.verify(index, dnsfunc=record)
        except (dkim.DKIMException, dns.exception.DNSException) as error:
            valid, problem = False, str(error)
        fields = checker.signature_fields
        name = " ".join(f"{tag}={fields[tag.encode()].decode()}" for tag in "das" if tag.encode() in fields)
        print(f"{name or f'signature {index + 1}'}: {'good' if valid else problem}")
        good += valid
    if count == 0:
        print("no signature")
    return 0 if good == count > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
