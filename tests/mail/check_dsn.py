"""Delivery status notifications as Python's email package reads them."""
import email
import email.policy
import re

import tap

HEADER = (b'Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: me@example.com\r\n'
          b'To: you@example.net\r\nSubject: Lunch on Friday\r\nMessage-ID: <m1@example.com>\r\n\r\n')
FAILED, DELAYED, DELIVERED, RELAYED, EXPANDED = range(5)


def b(value):
    return value if isinstance(value, bytes) else str(value).encode()


def make(action=FAILED, recipients=None, header=HEADER, body=None, sender='me@example.com', **more):
    lines = [('action', action), ('sender', sender), ('header', header)]
    if body is not None:
        lines.append(('body', body))
    lines += more.items()
    for r in recipients or [dict(recipient='you@example.net', status='5.1.1', code=550,
                                 text='5.1.1 <you@example.net>: no such user', mta='mx.example.net',
                                 last=1795450000000)]:
        lines += r.items()
    out, status = tap.oracle('dsn', b''.join(b('%s ' % k) + b(v).hex().encode() + b'\n' for k, v in lines))
    assert status == 0
    return out


def check(raw, full=False, seven_bit=True):
    """Structure of any notice; the words, the groups of fields, the returned part."""
    assert b'\n' not in raw.replace(b'\r\n', b'') and b'\r' not in raw.replace(b'\r\n', b'')
    if seven_bit:
        assert max(raw) < 128, raw
        assert max(len(line) for line in raw.split(b'\r\n')) <= 998
    m = email.message_from_bytes(raw, policy=email.policy.default)
    for part in m.walk():
        assert not part.defects, (part.defects, raw)
    assert set(k.lower() for k in m.keys()) <= {
        'date', 'from', 'to', 'subject', 'message-id', 'references', 'auto-submitted',
        'mime-version', 'content-type', 'content-transfer-encoding'}, m.keys()
    assert len(m.keys()) == len(set(m.keys()))
    assert m.get_content_type() == 'multipart/report'
    assert m.get_param('report-type') == 'delivery-status'
    assert m['Auto-Submitted'] == 'auto-replied'
    assert m['From'].addresses[0].addr_spec == 'MAILER-DAEMON@mx.example.com'
    assert m['Date'].datetime.timestamp() == 1795453512
    assert re.fullmatch(r'<[A-Za-z0-9._-]+@mx\.example\.com>', m['Message-ID'])
    words, status, returned = m.iter_parts()
    assert words.get_content_type() == 'text/plain'
    assert status.get_content_type() == 'message/delivery-status'
    assert returned.get_content_type() == ('message/rfc822' if full else 'text/rfc822-headers')
    groups = status.get_payload()
    assert groups[0]['Reporting-MTA'] == 'dns; mx.example.com'
    return m, words.get_content(), groups, returned


def test_failed():
    raw = make()
    m, words, groups, returned = check(raw)
    assert m['To'].addresses[0].addr_spec == 'me@example.com'
    assert m['Subject'] == 'Your message could not be delivered'
    assert m['References'] == '<m1@example.com>'
    assert 'no mailbox with this address' in ' '.join(words.split())
    assert '550 5.1.1 <you@example.net>: no such user' in words
    assert 'The mail server mx.example.net said:' in words
    assert 'What you can do:' in words
    assert 'Subject: Lunch on Friday' in words
    assert max(len(line) for line in words.splitlines()) <= 72
    about, you = groups
    assert about['X-Relayd-Queue-ID'] == '0194abcd01234567'
    assert about['Arrival-Date'] == 'Mon, 23 Nov 2026 16:05:12 +0000'
    assert you['Final-Recipient'] == 'rfc822; you@example.net'
    assert you['Action'] == 'failed'
    assert you['Status'] == '5.1.1'
    assert you['Remote-MTA'] == 'dns; mx.example.net'
    assert you['Diagnostic-Code'] == 'smtp; 550 5.1.1 <you@example.net>: no such user'
    assert you['Last-Attempt-Date'] == 'Mon, 23 Nov 2026 16:06:40 +0000'
    assert 'Will-Retry-Until' not in you and 'Original-Recipient' not in you
    assert returned.get_payload(decode=True) == HEADER[:-2]


def test_delayed():
    m, words, groups, _ = check(make(DELAYED, [
        dict(recipient='you@example.net', status='4.4.1', text='connection timed out', until=1795881912000)]))
    assert m['Subject'] == 'Your message has not been delivered yet'
    assert 'did not answer' in words and 'connection timed out' in words
    assert 'Sat, 28 Nov 2026 16:05:12 +0000' in words
    assert 'do not send the message again' in ' '.join(words.split())
    assert groups[1]['Action'] == 'delayed'
    assert groups[1]['Will-Retry-Until'] == 'Sat, 28 Nov 2026 16:05:12 +0000'
    assert groups[1]['Diagnostic-Code'] == 'x-relayd; connection timed out'
    assert 'Remote-MTA' not in groups[1]


def test_good_news():
    for action, word in (DELIVERED, 'delivered'), (RELAYED, 'relayed'), (EXPANDED, 'expanded'):
        for count in 1, 2:
            _, words, groups, _ = check(make(action, [dict(recipient='u%d@example.net' % i)
                                                      for i in range(count)]))
            assert [g['Action'] for g in groups[1:]] == [word] * count
            assert [g['Status'] for g in groups[1:]] == ['2.0.0'] * count
            assert 'What you can do' not in words


def test_defaults_of_status():
    assert check(make(FAILED, [dict(recipient='a@b.example')]))[2][1]['Status'] == '5.0.0'
    assert check(make(DELAYED, [dict(recipient='a@b.example')]))[2][1]['Status'] == '4.0.0'


def test_several_recipients():
    people = [dict(recipient='r%d@example.net' % i, status='5.2.2', code=552, text='full\nvery full')
              for i in range(12)]
    for action in FAILED, DELAYED:
        _, words, groups, _ = check(make(action, people))
        assert [g['Final-Recipient'] for g in groups[1:]] == ['rfc822; r%d@example.net' % i for i in range(12)]
        assert words.count('mailbox is full') == 12
        assert words.count('552 full') == 12 and words.count('  very full') == 12


def test_every_status_has_words():
    seen = set()
    for subject in range(0, 9):
        for detail in range(0, 32):
            if subject in (1, 2, 7) or detail < 9:
                for cls in 4, 5:
                    code = '%d.%d.%d' % (cls, subject, detail)
                    words = check(make(FAILED, [dict(recipient='a@b.example', status=code)]))[1]
                    assert 'What you can do:' in words
                    seen.add(words)
    assert len(seen) > 30


def test_full_return():
    for body in b'', b'Hello\r\n', b'no line end', b'\r\n\r\n.\r\n--x--\r\n', b'--=_0194abcd89\r\n':
        raw = make(body=body)
        _, _, _, returned = check(raw, full=True)
        boundary = email.message_from_bytes(raw).get_boundary()
        tail = raw[raw.index(b'Content-Type: message/rfc822'):]
        tail = tail[tail.index(b'\r\n\r\n') + 4:]
        assert tail == HEADER + body + b'\r\n--' + boundary.encode() + b'--\r\n', tail
        assert returned.get_payload()[0]['Subject'] == 'Lunch on Friday'


def test_returned_eight_bit():
    raw = make(body='grün\r\n'.encode())
    m, _, _, returned = check(raw, full=True, seven_bit=False)
    assert m['Content-Transfer-Encoding'] == '8bit'
    assert returned['Content-Transfer-Encoding'] == '8bit'
    raw = make(header=b'Subject: gr\xfcn\r\n\r\n')
    m, _, _, returned = check(raw, seven_bit=False)
    assert m['Content-Transfer-Encoding'] == '8bit'
    # header only: the body's bytes don't matter
    assert check(make(header=HEADER))[0]['Content-Transfer-Encoding'] == '7bit'


def test_odd_headers():
    for header in b'', b'\r\n', b'A: b\r\n', b'A: b\r\n\r\n', b'A: b':
        check(make(header=header))
        check(make(header=header, body=b'hello\r\n'), full=True)
    assert 'Subject:' not in check(make(header=b'Subject: =?utf-8?q?x?=\r\n\r\n'))[1]
    assert 'Subject:' not in check(make(header=b'Subject:\r\n\r\n'))[1]
    assert 'References' not in check(make(header=b'Subject: x\r\n\r\n'))[0]
    assert 'References' not in check(make(header=b'Message-ID: <' + b'x' * 600 + b'>\r\n\r\n'))[0]


HOSTILE = [b'a\r\nX-Evil: 1\r\n\r\nbody', b'a\nX-Evil: 1', b'\r\n.\r\n', b'\0\x1b[2J\x07', b'=?utf-8?q?x?=',
           b'--=_0194abcd89\r\nContent-Type: text/html\r\n\r\nevil', b'--=_0194abcd89--', b'\xff\xfe\x80',
           'grün und blau'.encode(), b'x' * 4096, b'x ' * 2000, b'\n' * 300, b'\n--=_0194abcd89\n--=_0194abcd89_1\n',
           b'a; b="c"', b'From x', b'.', b' ', b'']


def test_hostile_bytes():
    for evil in HOSTILE:
        r = dict(recipient=evil[:300], orcpt=evil, status='5.7.1', code=554, text=evil, mta=evil)
        _, words, groups, returned = check(make(FAILED, [r], sender=evil[:300], envid=evil))
        assert len(groups) == 2, groups
        for g in groups:
            assert 'X-Evil' not in g
        assert set(k.lower() for k in groups[1].keys()) <= {
            'original-recipient', 'final-recipient', 'action', 'status', 'remote-mta', 'diagnostic-code'}
        r['code'] = 0
        assert len(check(make(FAILED, [r, r]))[2]) == 3
        check(make(DELAYED, [r], body=evil, header=b'Subject: ' + evil.replace(b'\r', b'').replace(b'\n', b'') +
                   b'\r\n\r\n'), full=True, seven_bit=False) if b'\n' not in evil and b'\0' not in evil else None


def test_remote_words_in_utf8():
    _, words, groups, _ = check(make(FAILED, [dict(recipient='a@b.example', code=550, text='Empfänger unbekannt €')]))
    assert '550 Empfänger unbekannt €' in words
    assert groups[1]['Diagnostic-Code'] == 'smtp; 550 Empf?nger unbekannt ?'


def test_boundary_is_not_in_content():
    taken = b'=_0194abcd89\r\n=_0194abcd89_1\r\n'
    raw = make(body=taken)
    check(raw, full=True)
    assert email.message_from_bytes(raw).get_boundary() == '=_0194abcd89_2'
    raw = make(id='odd/id "with" \r\n bytes ' + 'x' * 100)
    m, _, _, _ = check(raw)
    assert len(m.get_boundary()) <= 70


def test_xtext():
    _, _, groups, _ = check(make(FAILED, [dict(recipient='a@b.example', orcpt='rfc822;x+2By+3Dz@b.example+')],
                                 envid='QQ+2B1+0D+0AX-Evil:+20y+ZZ+4'))
    assert groups[1]['Original-Recipient'] == 'rfc822; x+y=z@b.example+'
    assert groups[0]['Original-Envelope-Id'] == 'QQ+1 X-Evil: y+ZZ+4'
    assert 'X-Evil' not in groups[0]


def test_internationalised():
    raw = make(FAILED, [dict(recipient='grün\\@b\u00fccher.example')], sender='mé@example.com', smtputf8=1)
    assert 'To: <mé@example.com>\r\n'.encode() in raw
    groups = check(raw, seven_bit=False)[2]
    assert groups[1]['Final-Recipient'] == 'utf-8; gr\\x{FC}n\\x{5C}@b\\x{FC}cher.example'
    groups = check(make(FAILED, [dict(recipient='€😀@b.example')]))[2]
    assert groups[1]['Final-Recipient'] == 'utf-8; \\x{20AC}\\x{1F600}@b.example'
    check(make(sender='mé@example.com'))


tap.run(globals())
