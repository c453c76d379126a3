"""A man in the middle whose certificate clients accept.

TLS ends here and begins anew towards the server, from the first byte on both
sides. What passes is read, and may be changed:

    man = Between(port, pki.server("127.0.0.1"))
    man.edit = lambda line: line          what the server says, line by line
    man.answer = lambda line: None        bytes that answer a client's line in the server's stead
    man.heard                             the client's lines, decoded where they are base64
"""

import base64
import binascii
import socket
import ssl
import threading


def strike(*mechanisms):
    """An edit: these are missing from what the server offers."""

    def edit(line):
        if not line[4:].startswith(b"AUTH "):
            return line
        kept = [word for word in line.split() if word.decode() not in mechanisms]
        return b" ".join(kept) + b"\r\n"

    return edit


def _clear(line):
    """A line with its last word decoded, where that is base64 (longer than any command)."""
    head, _, last = line.rpartition(b" ")
    try:
        return head + b" " + base64.b64decode(last, validate=True) if len(last) > 12 else line
    except binascii.Error:
        return line


class Between:
    def __init__(self, port, context):
        self._server, self._context = port, context
        self.edit = lambda line: line
        self.answer = lambda line: None
        self.heard = []
        self.connections = 0
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        for sock in [self._listener, *self._sockets]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        self._sockets.append(raw)
        try:
            client = self._context.wrap_socket(raw, server_side=True)
            self._sockets.append(client)
            blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
            server = blind.wrap_socket(socket.create_connection(("127.0.0.1", self._server), 30))
            self._sockets.append(server)
        except OSError:
            raw.close()
            return
        threading.Thread(target=self._back, args=(server, client), daemon=True).start()
        try:
            with client.makefile("rb") as lines:
                for line in lines:
                    self.heard.append(_clear(line.rstrip(b"\r\n")))
                    own = self.answer(line)
                    if own is None:
                        server.sendall(line)
                    else:
                        client.sendall(own)
        except OSError:
            pass
        finally:
            server.close()

    def _back(self, server, client):
        try:
            with server.makefile("rb") as lines:
                for line in lines:
                    client.sendall(self.edit(line))
        except (OSError, ValueError):
            pass
        finally:
            client.close()
