"""An HTTP/1.1 client that makes an exact number of requests on connections that stay open.

`wrk` counts time, this counts requests: what instruction counts and idle connections need.
"""

import socket


class Connection:
    """One keep-alive connection."""

    def __init__(self, port, timeout=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, request):
        """Sends one request."""
        self.socket.sendall(request)

    def receive(self):
        """Reads one response with a Content-Length: its status and its body."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._received = rest
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return int(lines[0].split(b" ")[1]), body

    def ask(self, request):
        """Sends one request and reads its response."""
        self.send(request)
        return self.receive()

    def close(self):
        """Closes the connection."""
        self.socket.close()

    def _more(self):
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("the proxy closed a connection that should have stayed open")
        self._received += received


def get(port, path="/x", token=None):
    """The bytes of a GET request."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{authorization}\r\n".encode()


def once(port, path="/x", token=None):
    """One request on a connection of its own: status and body."""
    connection = Connection(port)
    try:
        return connection.ask(get(port, path, token))
    finally:
        connection.close()
