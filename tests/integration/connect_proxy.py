"""A forward proxy for tests: tunnels for those who know the password, and what went through them."""

import base64
import re
import socket
import threading

# One may follow the body of another one at once.
REQUEST = re.compile(rb"(?:GET|POST) (/[^ ?]*)[^ ]* HTTP/1\.1\r\n")


def end(connection):
    """Both directions; nothing, where its peer was faster."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class ConnectProxy:
    """Connects to the servers from `source`, so that they can tell its tunnels from other ways."""

    def __init__(self, credentials, source):
        self._expected = b"Basic " + base64.b64encode(credentials.encode())
        self._source = source
        self._lock = threading.Lock()
        self._open = set()
        self._tunnels = []  # bytes of the client, by tunnel
        self.refused = 0
        self.port = 0
        self.start()

    def start(self):
        """At the port that it had before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def stop(self):
        """Nobody is let in any more, and all tunnels end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                end(each)

    def requests(self):
        """Of each tunnel so far the paths that were asked for through it."""
        with self._lock:
            return [[path.decode() for path in REQUEST.findall(bytes(sent))]
                    for sent in self._tunnels]

    def _serve(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client):
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            lines = head.split(b"\r\n")
            if b"Proxy-Authorization: " + self._expected not in lines:
                with self._lock:
                    self.refused += 1
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            host, port = lines[0].split(b" ")[1].rsplit(b":", 1)
            with socket.create_connection((host.decode(), int(port)),
                                          source_address=(self._source, 0)) as server:
                sent = bytearray()
                with self._lock:
                    self._open |= {client, server}
                    self._tunnels.append(sent)
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._pass, args=(server, client, None), daemon=True)
                back.start()
                self._pass(client, server, sent)
                back.join()
                with self._lock:
                    self._open -= {client, server}

    def _pass(self, source, target, sent):
        try:
            while piece := source.recv(65536):
                if sent is not None:
                    with self._lock:
                        sent += piece
                target.sendall(piece)
        except OSError:
            pass
        for each in (source, target):  # the other direction ends, too
            end(each)
