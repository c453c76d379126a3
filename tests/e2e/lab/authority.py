"""Certificates for a test, made with openssl(1)."""

import subprocess
import time
from pathlib import Path


def openssl(*args, **more):
    return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, timeout=60, **more)


class Pki:
    """A CA below a folder: pki.ca is its file, pki.issue(...) makes (certificate, key)."""

    def __init__(self, folder, name="Test CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.ca, self.ca_key = self.folder / "ca.pem", self.folder / "ca.key"
        self.serial = 100
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", f"/CN={name}", "-keyout", self.ca_key, "-out", self.ca,
            "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    def issue(self, *names, file=None, days=90, expired=False, rsa=False, email=None):
        """The first name is the subject; the files are `file`.pem and `file`.key."""
        stem = file or names[0].replace("*", "any")
        key, request, made = (self.folder / f"{stem}.{end}" for end in ("key", "csr", "pem"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-new", "-newkey", *kind, "-nodes", "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request)
        key.chmod(0o600)
        extensions = self.folder / f"{stem}.ext"
        alternatives = [f"email:{email}"] if email else [f"DNS:{name}" for name in names]
        extensions.write_text(f"basicConstraints=CA:FALSE\nsubjectAltName={','.join(alternatives)}\n")
        self.serial += 1
        if expired:
            # x509 can't set dates of the past; ca can.
            (self.folder / "index.txt").write_text("")
            (self.folder / "serial").write_text(f"{self.serial:04X}\n")
            config = self.folder / "ca.conf"
            config.write_text(
                f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.folder}/index.txt\nserial={self.folder}/serial\n"
                f"new_certs_dir={self.folder}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
            )
            stamp = lambda ago: time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - ago))
            openssl(
                "ca", "-batch", "-config", config, "-cert", self.ca, "-keyfile", self.ca_key, "-in", request,
                "-out", made, "-notext", "-startdate", stamp(2 * 86400), "-enddate", stamp(3600), "-extfile", extensions,
            )  # fmt: skip
        else:
            openssl(
                "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-set_serial", self.serial,
                "-days", days, "-out", made, "-extfile", extensions,
            )  # fmt: skip
        return made, key
