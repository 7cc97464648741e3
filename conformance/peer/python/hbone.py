"""HTTP/2 over mutual TLS with Python's ssl and the h2 library, as blocking calls on one socket."""

import json
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions


def emit(**fields):
    print(json.dumps(fields), flush=True)


def split_address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def client_context(flags):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(flags.root)
    context.set_alpn_protocols(["h2"])
    if flags.cert:
        context.load_cert_chain(flags.cert, flags.key)
    return context


def server_context(flags):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(flags.root)
    context.load_cert_chain(flags.cert, flags.key)
    context.set_alpn_protocols(["h2"])
    return context


# A hang alone reaches it, however busy the machine is.
HANG = 60.0


class Failure(Exception):
    """A check does not hold."""


class Connection:
    """One HTTP/2 connection; `h2` itself judges what the peer sends and raises ProtocolError when it is wrong."""

    def __init__(self, sock, client_side, preface=True):
        # h2 demands :path of every request; a plain CONNECT has none (RFC 9113 §8.5). The cases look at the names themselves.
        config = h2.config.H2Configuration(
            client_side=client_side,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self.sock = sock
        self.h2 = h2.connection.H2Connection(config)
        self.data = {}
        self.status = {}
        self.fields = {}
        self.ended = set()
        self.resets = {}
        self.requests = []
        self.goaway = None
        self.closed = False
        # Bytes of a TLS record; None writes as one.
        self.piece = None
        if preface:
            self.h2.initiate_connection()
            self.flush()

    @classmethod
    def dial(cls, flags, context=None, preface=True):
        raw = socket.create_connection(split_address(flags.target), timeout=HANG)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls((context or client_context(flags)).wrap_socket(raw), True, preface)

    def flush(self):
        pending = self.h2.data_to_send()
        step = self.piece or len(pending) or 1
        for at in range(0, len(pending), step):
            self.sock.sendall(pending[at : at + step])

    def pump(self, timeout):
        """Reads once. Returns False when nothing came in time or the connection is over."""
        self.sock.settimeout(max(timeout, 0.001))
        try:
            received = self.sock.recv(65536)
        except (TimeoutError, socket.timeout):
            return False
        except (ConnectionError, ssl.SSLError):
            received = b""
        if not received:
            self.closed = True
            return False
        for event in self.h2.receive_data(received):
            self.handle(event)
        self.flush()
        return True

    def handle(self, event):
        if isinstance(event, h2.events.DataReceived):
            self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived):
            self.fields[event.stream_id] = dict(event.headers)
            self.status[event.stream_id] = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.RequestReceived):
            self.requests.append((event.stream_id, dict(event.headers)))
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event

    def wait(self, what, holds, timeout=HANG):
        deadline = time.monotonic() + timeout
        while not holds():
            left = deadline - time.monotonic()
            if self.closed:
                raise Failure(f"waiting for {what}: connection closed")
            if left <= 0:
                raise Failure(f"waiting for {what}: nothing in {timeout} s")
            self.pump(left)

    def connect(self, authority, extra=(), end_stream=False):
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", "CONNECT"), (":authority", authority), *extra]
        self.h2.send_headers(stream, headers, end_stream=end_stream)
        self.flush()
        return stream

    def tunnel(self, authority, extra=()):
        stream = self.connect(authority, extra)
        self.wait("a status", lambda: stream in self.status or stream in self.resets)
        if self.status.get(stream) != 200:
            raise Failure(f"status {self.status.get(stream)}, reset {self.resets.get(stream)}")
        return stream

    def send(self, stream, data, end=False):
        view = memoryview(data)
        while len(view) > 0:
            self.wait("window", lambda: self.h2.local_flow_control_window(stream) > 0, 15)
            n = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(view))
            self.h2.send_data(stream, bytes(view[:n]))
            view = view[n:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def finish(self, stream, timeout=HANG):
        self.wait("END_STREAM", lambda: stream in self.ended or stream in self.resets, timeout)
        if stream in self.resets and stream not in self.ended:
            raise Failure(f"stream reset: {self.resets[stream]}")
        return bytes(self.data.get(stream, b""))

    def close(self):
        self.sock.close()


def run_checks(checks, only):
    for name, run in checks:
        if only and name not in only.split(","):
            continue
        start = time.monotonic()
        detail = ""
        try:
            run()
        except (Failure, h2.exceptions.H2Error, OSError) as error:
            detail = f"{type(error).__name__}: {error}"
        emit(case=name, ok=detail == "", detail=detail, ms=int((time.monotonic() - start) * 1000))
    sys.stdout.flush()
