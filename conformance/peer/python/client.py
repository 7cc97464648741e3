"""HBONE checks of an inbound node: what a careful library does, and what a careless peer does to a socket."""

import argparse
import hashlib
import socket
import ssl
import struct
import time

import h2.errors
from hbone import HANG, Connection, Failure, client_context, run_checks, split_address

parser = argparse.ArgumentParser()
for flag in ("target", "app", "root", "cert", "key", "only"):
    parser.add_argument(f"--{flag}", default="")
flags = parser.parse_args()


def echo(connection=None, text=b"hello"):
    mine = connection or Connection.dial(flags)
    try:
        stream = mine.tunnel(flags.app)
        mine.send(stream, b"echo\n" + text, end=True)
        got = mine.finish(stream)
        if got != text:
            raise Failure(f"echoed {got[:80]!r}")
    finally:
        if connection is None:
            mine.close()


def still_serves(offend):
    """The offence may be answered in any way that ends in time; everybody else is served as before."""

    def run():
        offend()
        echo()

    return run


def upload_and_download():
    payload = bytes(range(256)) * 16384
    connection = Connection.dial(flags)
    stream = connection.tunnel(flags.app)
    connection.send(stream, b"count\n" + payload, end=True)
    want = f"{len(payload)} {hashlib.sha256(payload).hexdigest()}\n".encode()
    got = connection.finish(stream)
    if got != want:
        raise Failure(f"application got {got!r}")
    stream = connection.tunnel(flags.app)
    connection.send(stream, b"send 4000000\n", end=True)
    if len(connection.finish(stream)) != 4_000_000:
        raise Failure("not all bytes came")


def streams_in_one_connection():
    connection = Connection.dial(flags)
    streams = [connection.connect(flags.app) for _ in range(60)]
    for stream in streams:
        connection.wait("a status", lambda: stream in connection.status)
        connection.send(stream, b"echo\n%d" % stream, end=True)
    for stream in streams:
        if connection.finish(stream) != b"%d" % stream:
            raise Failure(f"stream {stream} got another's bytes")


def one_byte_records():
    connection = Connection.dial(flags)
    connection.piece = 1
    echo(connection, b"in pieces")


def slow_preface():
    raw = Connection.dial(flags, preface=False)
    raw.h2.initiate_connection()
    for byte in raw.h2.data_to_send():
        raw.sock.sendall(bytes([byte]))
        time.sleep(0.005)
    echo(raw)


def high_bytes_in_headers():
    connection = Connection.dial(flags)
    value = "service.name=caf\xe9,service.version=\xff"
    connection.tunnel(flags.app, [("baggage", value)])


def large_headers():
    connection = Connection.dial(flags)
    connection.tunnel(flags.app, [("baggage", "k=" + "v" * 8000), ("x-other", "o" * 4000)])


def huge_headers():
    connection = Connection.dial(flags)
    try:
        stream = connection.connect(flags.app, [("x-huge", "h" * 300_000)])
        connection.wait("a verdict", lambda: stream in connection.status or stream in connection.resets or connection.goaway)
    except OSError:
        return  # Cut off while still sending: a verdict as well.
    except Failure:
        if not connection.closed:
            raise
    if 200 in connection.status.values():
        raise Failure("a header list of 300 KB was taken")


def end_stream_with_connect():
    connection = Connection.dial(flags)
    stream = connection.connect(flags.app, end_stream=True)
    connection.wait("an end", lambda: stream in connection.ended or stream in connection.resets)


def trailers_in_a_tunnel():
    connection = Connection.dial(flags)
    stream = connection.tunnel(flags.app)
    connection.send(stream, b"echo\nx")
    connection.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
    connection.flush()
    connection.wait("an end", lambda: stream in connection.ended or stream in connection.resets)


def late_frames_on_a_closed_stream():
    connection = Connection.dial(flags)
    stream = connection.tunnel(flags.app)
    connection.send(stream, b"echo\nx", end=True)
    connection.finish(stream)
    # WINDOW_UPDATE, RST_STREAM and PRIORITY may still be on their way (RFC 9113 §5.1).
    for kind, payload in ((8, struct.pack(">I", 100)), (3, struct.pack(">I", 8)), (2, struct.pack(">IB", 0, 15))):
        connection.sock.sendall(struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + struct.pack(">I", stream) + payload)
    echo(connection)


def http1_in_tls():
    raw = Connection.dial(flags, preface=False)
    raw.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    raw.sock.settimeout(HANG)
    try:
        while received := raw.sock.recv(4096):
            if b"200" in received:
                raise Failure(f"answered {received[:60]!r}")
    except (ssl.SSLError, ConnectionError):
        pass


def plain_bytes():
    for payload in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 600, bytes(range(256)) * 8, b""):
        with socket.create_connection(split_address(flags.target), timeout=HANG) as raw:
            try:
                raw.sendall(payload)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass
            except TimeoutError as error:
                raise Failure("left open") from error
            except OSError:
                pass  # Hung up on in the middle.


def half_a_frame_then_gone():
    connection = Connection.dial(flags)
    connection.sock.sendall(struct.pack(">I", 5000)[1:] + b"\x01\x04" + struct.pack(">I", 1) + b"part")
    connection.close()


def gone_in_the_handshake():
    for _ in range(200):
        raw = socket.create_connection(split_address(flags.target), timeout=HANG)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.sendall(b"\x16\x03\x01\x02\x00\x01")
        raw.close()


def silent_connections():
    """A hundred that never begin their handshake; another is served before they are given up."""
    for _ in range(5):
        held = [socket.create_connection(split_address(flags.target), timeout=HANG) for _ in range(100)]
        echo()
        waited = not any(is_open(one) for one in held)
        for one in held:
            one.close()
        if not waited:
            return
    raise Failure("others had to wait")


def is_open(connection):
    """Nothing has come: neither a byte nor an end."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def handshake_then_silence():
    held = [Connection.dial(flags, preface=False) for _ in range(20)]
    echo()
    for one in held:
        one.close()


def cut_in_the_middle():
    connection = Connection.dial(flags)
    stream = connection.tunnel(flags.app)
    connection.send(stream, b"hold\nhalf of it")
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def refused_suite():
    """Run with an OPENSSL_CONF that leaves ChaCha20 only: mesh peers take AES-GCM and nothing else."""
    try:
        connection = Connection.dial(flags)
    except (ssl.SSLError, ConnectionError):
        return
    if "CHACHA20" not in connection.sock.cipher()[0]:
        raise Failure(f"not ChaCha20 but {connection.sock.cipher()}; the case does not test what it says")
    try:
        connection.tunnel(flags.app)
    except (Failure, OSError):
        return
    raise Failure("served over ChaCha20")


def cipher_is_aes():
    connection = Connection.dial(flags)
    name, version, _ = connection.sock.cipher()
    if version != "TLSv1.3" or "AES" not in name:
        raise Failure(f"{version} {name}")


def tickets_do_not_resume():
    """A resumed session would skip the certificate check; a mesh node makes each connection show it again."""
    context = client_context(flags)
    first = Connection.dial(flags, context)
    echo(first)
    session = first.sock.session
    raw = socket.create_connection(split_address(flags.target), timeout=HANG)
    second = context.wrap_socket(raw, session=session) if session else context.wrap_socket(raw)
    if second.session_reused:
        raise Failure("the session was resumed")
    second.close()


run_checks(
    [
        ("echo", echo),
        ("upload-and-download", upload_and_download),
        ("sixty-streams-in-one-connection", streams_in_one_connection),
        ("one-byte-records", one_byte_records),
        ("slow-preface", slow_preface),
        ("high-bytes-in-headers", high_bytes_in_headers),
        ("headers-of-12-kb", large_headers),
        ("headers-of-300-kb-are-refused", still_serves(huge_headers)),
        ("end-stream-with-connect", still_serves(end_stream_with_connect)),
        ("trailers-in-a-tunnel", still_serves(trailers_in_a_tunnel)),
        ("late-frames-on-a-closed-stream", late_frames_on_a_closed_stream),
        ("http-1.1-in-tls", still_serves(http1_in_tls)),
        ("no-tls-at-all", still_serves(plain_bytes)),
        ("half-a-frame-then-gone", still_serves(half_a_frame_then_gone)),
        ("gone-in-the-handshake", still_serves(gone_in_the_handshake)),
        ("hundred-silent-connections", silent_connections),
        ("handshake-then-silence", handshake_then_silence),
        ("cut-in-the-middle", still_serves(cut_in_the_middle)),
        ("cipher-is-aes", cipher_is_aes),
        ("sessions-do-not-resume", tickets_do_not_resume),
    ]
    if flags.only != "chacha20-is-refused"
    else [("chacha20-is-refused", refused_suite)],
    flags.only,
)
