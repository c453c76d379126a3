"""What relayctl prints for DNS, and whether it sees what DNS has."""

import re

import pytest

DOMAIN = "domain example.test { dkim auto }"


def keys_of(daemon):
    return {key["name"]: key["record"] for key in daemon.json("dkim")["keys"]}


def zone_lines(output):
    """The zone file's part of each key, for a real name server."""
    return "".join(re.findall(r"; zone file\n(.*?)\n\n", output + "\n", re.DOTALL)).replace(")", ")\n")


def test_prints_records(lab):
    daemon = lab.relayd(extra=DOMAIN)
    output = daemon.ctl("dkim", "example.test").stdout
    keys = keys_of(daemon)
    assert len(keys) == 2
    for name, record in keys.items():
        assert f"; one line, for {name}\n{record}\n" in output
        strings = [f'"{record[n:n + 255]}"' for n in range(0, len(record), 255)]
        assert "; strings of at most 255 bytes\n" + "\n".join(strings) in output
        assert f"{name}. IN TXT" in output
    assert "PRIVATE" not in output
    assert daemon.ctl("dkim", "nobody.test", check=False).returncode == 66
    assert daemon.ctl("dkim", "a", "b", check=False).returncode == 64


def test_the_same_with_the_daemon_down(lab):
    daemon = lab.relayd(extra=DOMAIN)
    up = daemon.ctl("dkim").stdout
    daemon.stop()
    assert daemon.ctl("dkim").stdout == up
    down = daemon.ctl("dkim", "check", check=False)
    assert down.returncode == 69
    assert "is not running" in down.stderr


@pytest.mark.asan
def test_check_compares_with_dns(lab):
    dns = lab.dns()
    daemon = lab.relayd(extra=DOMAIN, resolver=dns.address)
    keys = keys_of(daemon)
    result = daemon.ctl("dkim", "check", check=False)
    assert result.returncode == 1
    assert result.stdout.count("missing") == 2

    # Exactly what was printed, in a real zone.
    dns.update(zone_lines(daemon.ctl("dkim").stdout))
    daemon.ctl("reload")  # what was not there is remembered for a while
    result = daemon.ctl("dkim", "check", "example.test")
    assert result.stdout.count("DNS has the key in use") == 2, result.stdout

    first, second = keys
    dns.update(f'{first}. IN TXT "v=DKIM1; k=rsa; p="\n{second}. IN TXT "v=spf1 -all"\n')
    daemon.ctl("reload")
    answer = daemon.ctl("dkim", "check", "--json", check=False)
    assert answer.returncode == 1
    assert '"revoked"' in answer.stdout and '"missing"' in answer.stdout


def test_check_without_name_servers(lab):
    dns = lab.fake_dns()
    daemon = lab.relayd(extra=DOMAIN, resolver=dns.address)
    for name in keys_of(daemon):
        dns.rcode(name, "TXT", "SERVFAIL")
    result = daemon.ctl("dkim", "check", check=False)
    assert result.returncode == 75, result.stdout
    assert "DNS could not be asked" in result.stdout
