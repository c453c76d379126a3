"""A certificate authority of the laboratory, and certificates good and bad.

    pki = Pki(folder)
    pki.env                         makes programs (OpenSSL) trust it, and it alone
    pki.server("mx.test")           a server's SSL context: certificate for that name
    pki.server("mx.test", expired=True), pki.server("other.test"), pki.self_signed("mx.test")
"""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate, key):
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Pki:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("Laboratory CA", self._key, None, authority=True)
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(_pem(self._certificate, self._key)[0])
        self.env = {"SSL_CERT_FILE": str(self.ca_file), "SSL_CERT_DIR": str(self.folder / "none")}

    def _sign(self, name, key, issuer, authority=False, begins=-1, ends=30):
        now = datetime.datetime.now(datetime.timezone.utc)
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
            builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
        return builder.sign(key if issuer is None else self._key, hashes.SHA256())

    def files(self, name, expired=False, self_signed=False):
        """(certificate, key) files for `name`."""
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = (-30, -1) if expired else (-1, 30)
        certificate = self._sign(name, key, None if self_signed else self, begins=begins, ends=ends)
        paths = []
        for kind, pem in zip(("crt", "key"), _pem(certificate, key)):
            path = self.folder / f"{self._count}.{kind}"
            path.write_bytes(pem)
            paths.append(path)
        return paths

    def server(self, name, **kind):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = self.files(name, **kind)
        context.load_cert_chain(certificate, key)
        return context

    def self_signed(self, name):
        return self.server(name, self_signed=True)
