"""A certificate authority of the laboratory, and certificates good and bad.

    pki = Pki(folder)
    pki.env                         makes programs (OpenSSL) trust it, and it alone
    pki.server("mx.test")           a server's SSL context: certificate for that name
    pki.server("mx.test", expired=True), pki.server("other.test"), pki.self_signed("mx.test")
    pki.issue("mx.test")            its files, (certificate, key); issued again, they are replaced
    pki.issue("Ann", email="ann@client.test")
"""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name):
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate, key):
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Pki:
    def __init__(self, folder, name="Laboratory CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(name, self._key, None, authority=True)
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(_pem(self._certificate, self._key)[0])
        self.env = {"SSL_CERT_FILE": str(self.ca_file), "SSL_CERT_DIR": str(self.folder / "none")}

    def _sign(self, name, key, issuer, authority=False, expired=False, alternatives=()):
        now = datetime.datetime.now(datetime.timezone.utc)
        begins, ends = (-30, -1) if expired else (-1, 30)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name) if issuer is None else self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * DAY)
            .not_valid_after(now + ends * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = [_alternative(text) for text in alternatives or [name]]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(key if issuer is None else self._key, hashes.SHA256())

    def issue(self, *names, file=None, expired=False, self_signed=False, use_rsa=False, email=None):
        """(certificate, key): the first name is the subject, and names the files unless `file` does."""
        key = rsa.generate_private_key(65537, 2048) if use_rsa else ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            names[0],
            key,
            None if self_signed else self,
            expired=expired,
            alternatives=[email] if email else names,
        )
        stem = file or names[0].replace("*", "any")
        paths = []
        for kind, pem in zip(("crt", "key"), _pem(certificate, key)):
            path = self.folder / f"{stem}.{kind}"
            path.write_bytes(pem)
            path.chmod(0o644 if kind == "crt" else 0o600)
            paths.append(path)
        return paths

    def files(self, name, **kind):
        """issue(), with files of their own each time."""
        self._count += 1
        return self.issue(name, file=str(self._count), **kind)

    def server(self, name, **kind):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = self.files(name, **kind)
        context.load_cert_chain(certificate, key)
        return context

    def self_signed(self, name):
        return self.server(name, self_signed=True)
