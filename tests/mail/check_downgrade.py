"""Seven-bit variants of messages: Python's email package must read the same
content from both."""
import email
import email.header
import email.policy
import glob
import os
import random

import tap


def downgrade(raw):
    out, status = tap.oracle('downgrade', raw)
    return out if status == 0 else None


def parse(raw):
    return email.message_from_bytes(raw, policy=email.policy.compat32)


def leaves(m):
    """Type and decoded bytes of each part that holds content."""
    out = []
    for part in m.walk():
        if not part.is_multipart():
            kind = part.get_content_type()
            out.append((kind, part.get_filename(), part.get_payload(decode=True)))
    return out


def structure(m):
    return [(p.get_content_type(), p.is_multipart()) for p in m.walk()]


def check(raw, same_headers=True):
    out = downgrade(raw)
    assert out is not None, 'refused'
    assert max(out, default=0) < 128, [line for line in out.split(b'\n') if max(line, default=0) > 127]
    assert all(len(line) <= 998 for line in out.split(b'\r\n'))
    assert b'\n' not in out.replace(b'\r\n', b'') and b'\r' not in out.replace(b'\r\n', b'')
    before, after = parse(raw), parse(out)
    assert structure(before) == structure(after), (structure(before), structure(after))
    assert leaves(before) == leaves(after), (leaves(before), leaves(after))
    assert downgrade(out) == out, 'not stable'
    return after


def decoded(m, name):
    return str(email.header.make_header(email.header.decode_header(m[name])))


def msg(*lines):
    return b'\r\n'.join(line if isinstance(line, bytes) else line.encode() for line in lines)


def test_plain_text():
    m = check(msg('Subject: x', '', 'grün', ''))
    assert m['MIME-Version'] == '1.0'
    assert m['Content-Type'] == 'text/plain; charset=utf-8'
    assert m['Content-Transfer-Encoding'] == 'quoted-printable'
    m = check(msg('Subject: x', '', b'gr\xfcn', ''))
    assert m['Content-Type'] == 'text/plain; charset=unknown-8bit'
    m = check(msg('MIME-Version: 1.0', 'Content-Type: text/plain; charset=koi8-r',
                  'Content-Transfer-Encoding: 8bit', '', b'\xf0\xd2\xc9', ''))
    assert m['Content-Type'] == 'text/plain; charset=koi8-r'
    assert m.get_all('Content-Transfer-Encoding') == ['quoted-printable']
    m = check(msg('Content-Transfer-Encoding: 8bit', 'Content-Transfer-Encoding: binary', '', 'ü'))
    assert m.get_all('Content-Transfer-Encoding') == ['quoted-printable']


def test_no_change_needed():
    for raw in (b'', b'\r\n', b'Subject: x\r\n\r\nhello\r\n', b'Subject: x', b'hello world\r\n',
                b'Subject: x\r\nno field\r\n'):
        assert downgrade(raw) == raw


def test_no_header():
    out = downgrade('hällo\r\n'.encode())
    assert parse(out).get_payload(decode=True) == 'hällo\r\n'.encode()
    out = downgrade('A: b\r\nhällo wörld\r\n'.encode())
    assert parse(out)['A'] == 'b'
    assert parse(out).get_payload(decode=True) == 'hällo wörld\r\n'.encode()
    out = downgrade('A: ü'.encode())
    assert max(out) < 128


def test_labels():
    m = check(msg('MIME-Version: 1.0', 'Content-Transfer-Encoding: 8bit', '', 'plain', ''))
    assert m['Content-Transfer-Encoding'] == '7bit'
    m = check(msg('MIME-Version: 1.0', 'Content-Transfer-Encoding: Binary (x)', '', 'plain', ''))
    assert m['Content-Transfer-Encoding'] == '7bit'


def test_line_ends_and_blanks():
    for body in ('ü \r\n', 'ü\t\r\n', 'ü ', 'ü\r\n\r\n \r\n', '.\r\n..\r\nü\r\n', 'From ü\r\nFrom x\r\nFrom\r\n',
                 '=\r\n==\r\nü=3D\r\n', 'ü' * 1000 + '\r\n', 'x' * 80 + ' ü' + ' ' * 200 + '\r\n',
                 'a' * 75 + 'ü', 'a' * 76 + '\r\nü', '\x00ü\x1b\r\n', 'ü\r\n'):
        for n in range(70, 78):
            check(b'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n' + body.encode())
            check(b'Content-Type: application/octet-stream\r\n\r\n' + b'y' * n + body.encode())
    check(b'Subject: x\r\n\r\n' + b'z' * 5000 + b'\r\n')
    for line in downgrade(b'A: b\r\n\r\n.\r\nFrom me\r\n\xff\r\n').split(b'\r\n\r\n', 1)[1].split(b'\r\n'):
        assert not line.startswith((b'.', b'From '))


def test_encoded_already():
    m = check(msg('MIME-Version: 1.0', 'Content-Transfer-Encoding: base64', '', 'aGVsbG8=', ''))
    assert m['Content-Transfer-Encoding'] == 'base64'
    check(msg('MIME-Version: 1.0', 'Content-Transfer-Encoding: base64', 'Subject: ü', '', 'aGVsbG8=', ''))
    check(msg('MIME-Version: 1.0', 'Content-Transfer-Encoding: base64', '', 'aGVüsbG8=', ''))
    check(msg('MIME-Version: 1.0', 'Content-Transfer-Encoding: quoted-printable', '', 'gr=C3=BCn und grün=', 'x', ''))
    assert downgrade(msg('Content-Transfer-Encoding: x-uuencode', '', 'ü', '')) is None
    raw = msg('Content-Transfer-Encoding: base64', '', 'A' * 1200, '')
    assert downgrade(raw) == raw


MULTI = msg('MIME-Version: 1.0', 'Content-Type: multipart/mixed;', ' boundary="b 1"',
            'Content-Transfer-Encoding: 8bit', '', 'preamble ü', '--b 1',
            'Content-Type: text/plain; charset=utf-8', 'Content-Transfer-Encoding: 8bit', '', 'grün', '',
            '--b 1  ', '', 'plain part', '--b 1x', 'still plain', '--b 1',
            'Content-Type: multipart/alternative; boundary=b2', '', '--b2', '', 'blü', '--b2',
            'Content-Type: application/octet-stream; name="x.bin"', 'Content-Transfer-Encoding: binary', '',
            b'\x80\x81 \xff\r\n ', '--b2--', 'inner epilogue ü', '--b 1',
            'Content-Type: message/rfc822', 'Content-Transfer-Encoding: 8bit', '',
            'Subject: ünner', 'Content-Type: text/html; charset=utf-8', '', '<p>ü', '--b 1--', 'epilogue ü', '')


def test_multipart():
    m = check(MULTI)
    assert m['Content-Transfer-Encoding'] == '7bit'
    assert m.preamble == 'preamble ??'
    assert 'b 1x' in m.get_payload()[1].get_payload()
    inner = m.get_payload()[3].get_payload()[0]
    assert decoded(inner, 'Subject') == 'ünner'


def test_cut_anywhere():
    """Whatever is cut off, what is left goes out in seven bits or is refused."""
    refused = 0
    for at in range(0, len(MULTI)):
        raw = MULTI[:at]
        out = downgrade(raw)
        if out is None:
            refused += 1
            continue
        assert max(out, default=0) < 128
    assert refused < len(MULTI) / 4, refused


def test_digest():
    m = check(msg('MIME-Version: 1.0', 'Content-Type: multipart/digest; boundary=x', '', '--x', '',
                  'Subject: one', '', 'ü', '--x', 'Content-Type: text/plain; charset=utf-8', '', 'ä', '--x--', ''))
    assert m.get_payload()[0].get_content_type() == 'message/rfc822'
    assert m.get_payload()[0].get_payload()[0]['Content-Transfer-Encoding'] == 'quoted-printable'
    assert m.get_payload()[0]['Content-Transfer-Encoding'] is None


def nested(depth, leaf):
    body = leaf
    for i in range(depth):
        body = msg('Content-Type: multipart/mixed; boundary=b%d' % i, '', '--b%d' % i, body, '--b%d--' % i, '')
    return b'MIME-Version: 1.0\r\n' + body


def test_depth():
    check(nested(31, msg('', 'ü')))
    assert downgrade(nested(33, msg('', 'ü'))) is None
    plain = nested(200, msg('', 'u'))
    assert downgrade(plain) == plain
    assert downgrade(b'Content-Type: message/rfc822\r\n\r\n' * 40 + b'\r\n\xff') is None


def test_refused():
    for raw in (msg('Content-Type: multipart/mixed', '', '--x', '', 'ü', '--x--'),
                msg('Content-Type: multipart/mixed; boundary=""', '', '--', '', 'ü', '----'),
                msg('Content-Type: multipart/mixed; boundary=bü', '', '--bü', '', 'ü', '--bü--'),
                msg('Content-Type: multipart/mixed; boundary=x', '', 'ü no parts'),
                msg('Content-Type: multipart/mixed; boundary', '', 'ü'),
                msg('Content-Type: message/partial; id=1', '', 'ü'),
                msg('Content-Type: multipart/mixed; boundary=x', '', '--x', 'Content-Type: message/external-body',
                    '', 'ü', '--x--')):
        assert downgrade(raw) is None, raw


def test_fields_of_reports():
    raw = msg('Content-Type: message/delivery-status', '', 'Reporting-MTA: dns; ü', '')
    assert downgrade(raw).endswith(b'Reporting-MTA: dns; ??\r\n')


def test_parameters():
    for value in ('multipart/mixed; boundary=x', 'Multipart/Mixed;BOUNDARY="x"', 'multipart/mixed; a=b; boundary=x; c',
                  'multipart/mixed (c \\) (d)) ; a="\\";boundary=y" ; boundary = "\\x"',
                  'multipart/mixed;;; boundary=x;boundary=y', 'multipart/mixed; boundary="x', 'multipart/mixed junk; boundary=x'):
        check_value = msg('MIME-Version: 1.0', 'Content-Type: ' + value, '', '--x', '', 'ü', '--x--', '')
        out = downgrade(check_value)
        assert out is not None and b'\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n' in out, value
    out = downgrade(msg('Content-Type: multipart/mixed; boundary=a/b=c:d', '', '--a/b=c:d', '', 'ü', '--a/b=c:d--', ''))
    assert b'=C3=BC' in out


def header(name, value):
    m = parse(downgrade(b(name) + b': ' + b(value) + b'\r\n\r\nx\r\n'))
    return m


def b(value):
    return value if isinstance(value, bytes) else value.encode()


def test_unstructured_fields():
    for value in ('grün', 'a grün b', 'grün blau', 'grün gelbgrün', 'ü ü ü', 'ü x ü', 'über ' * 30 + 'x', 'ü' * 300,
                  'x' * 60 + ' ü', '€' * 100, '=?utf-8?q?a?= ü', 'ü =?utf-8?q?a?=', '=?utf-8?q?a?= ü ü =?utf-8?q?b?= c',
                  '?=_ü', 'ü\r\n folded ü', 'tab\tü\tü'):
        for name in 'Subject', 'Comments', 'X-Anything', 'Content-Description':
            m = header(name, value)
            want = value.replace('\r\n', '').replace('=?utf-8?q?a?=', 'a').replace('=?utf-8?q?b?=', 'b')
            got = decoded(m, name)
            assert ' '.join(got.split()) == ' '.join(want.split()), (got, want)
            assert max(len(line) for line in m[name].splitlines()) <= 120, m[name]
            for word in m[name].split():
                assert not word.startswith('=?') or len(word) <= 75
    m = header('Subject', b'gr\xfcn \xe4')
    assert m['Subject'].startswith('=?unknown-8bit?q?gr=FCn_=E4?=')


def test_address_fields():
    rows = [
        ('Jörg <j@example.com>', 'Jörg', 'j@example.com'),
        ('Jörg Müller <j@example.com>', 'Jörg Müller', 'j@example.com'),
        ('Jörg X. Müller <j@example.com>', 'Jörg X. Müller', 'j@example.com'),
        ('"Müller, Jörg" <j@example.com>', 'Müller, Jörg', 'j@example.com'),
        ('"Mü\\"ller"<j@example.com>', 'Mü"ller', 'j@example.com'),
        ('"plain" Ü <j@example.com>', 'plain Ü', 'j@example.com'),
        ('=?utf-8?q?J=C3=B6rg?= Müller <j@example.com>', 'Jörg Müller', 'j@example.com'),
        ('Jörg <jörg@example.com>', 'Jörg', 'j??rg@example.com'),
        ('"x" <"jö"@example.com>', 'x', 'j??@example.com'),
    ]
    for value, name, addr in rows:
        out = downgrade(b('From: ' + value) + b'\r\n\r\nx\r\n')
        assert max(out) < 128
        m = email.message_from_bytes(out, policy=email.policy.default)
        a = m['From'].addresses[0]
        # Python keeps the blank between two encoded-words of a phrase
        assert (a.display_name.replace('  ', ' '), a.addr_spec) == (name, addr), (value, a, out)
    for value, want in (('j@example.com (Jörg)', b'j@example.com (=?utf-8?q?J=C3=B6rg?=)'),
                        ('j@example.com (a \\) Jörg (x) y)', b'j@example.com (a \\) =?utf-8?q?J=C3=B6rg?= (x) y)'),
                        ('jörg@example.com', b'j??rg@example.com'), ('j@bücher.example', b'j@b??cher.example'),
                        ('"jö"@example.com', b'"j??"@example.com'), ('"jö".x@example.com', b'"j??".x@example.com'),
                        ('Grüppe: a@b.example, c@d.example;', b'=?utf-8?q?Gr=C3=BCppe?=: a@b.example, c@d.example;'),
                        ('(\\', None), ('"ü', b'=?utf-8?q?=C3=BC?='), ('"ü\\', None), (')ü', None), ('\\ü', None)):
        out = downgrade(b('To: ' + value) + b'\r\n\r\nx\r\n')
        assert max(out) < 128
        if want is not None:
            assert out.split(b'\r\n')[0] == b'To: ' + want, out


def test_other_fields():
    m = header('Received', 'from ü by x')
    assert m['Received'] == 'from ?? by x'
    m = header('Content-Disposition', 'attachment; filename="ü.txt"')
    assert m['Content-Disposition'] == 'attachment; filename="??.txt"'


def random_message(rng, depth=0):
    if depth < 4 and rng.random() < 0.5:
        boundary = 'b%d' % rng.randrange(10 ** 6)
        parts = []
        for _ in range(rng.randrange(1, 4)):
            parts += [b'--' + boundary.encode() + b'\r\n', random_message(rng, depth + 1), b'\r\n']
        return b'Content-Type: multipart/mixed; boundary="' + boundary.encode() + b'"\r\n\r\n' + \
            b''.join(parts) + b'--' + boundary.encode() + b'--\r\n'
    if depth < 4 and rng.random() < 0.2:
        return b'Content-Type: message/rfc822\r\n\r\n' + random_message(rng, depth + 1)
    kinds = ['text/plain; charset=utf-8', 'text/html; charset=iso-8859-1', 'application/pdf', 'image/png']
    body = b''.join(rng.choice([b'word ', b'\xe4\xf6', b'\r\n', b'=', b'.', b'\t', 'ß'.encode(), b'From ', b'x' * 90])
                    for _ in range(rng.randrange(60)))
    return b'Content-Type: ' + rng.choice(kinds).encode() + b'\r\nSubject: s\r\n\r\n' + body


def test_random_messages():
    rng = random.Random(1)
    for _ in range(150):
        check(b'MIME-Version: 1.0\r\n' + random_message(rng))


def test_collections():
    folder = os.environ.get('DATA_DIR', '.')
    files = [f for d in ('mime-cyrus', 'mail-mox', 'mail-haraka', 'dkim-mailauth', 'dsn')
             for f in sorted(glob.glob(os.path.join(folder, d, '*.*')))]
    if not files:
        return 'the collections are not in DATA_DIR'
    for name in files:
        with open(name, 'rb') as f:
            raw = f.read().replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')
        if b'\r' in raw.replace(b'\r\n', b'') or name.endswith('.pem'):
            continue
        try:
            check(raw)
        except AssertionError as e:
            raise AssertionError(name) from e
        # and with bytes that need the work
        check(raw.rstrip(b'\r\n').replace(b' the ', b' th\xc3\xa9 ') + b'\r\n')


tap.run(globals())
