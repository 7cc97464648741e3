"""An HBONE server under an outbound node: the h2 library judges each byte the node sends, and every answer comes in bits."""

import argparse
import socket
import sys
import threading
import time

import h2.exceptions
import h2.settings
from hbone import Connection, Failure, emit, server_context, split_address

parser = argparse.ArgumentParser()
for flag in ("listen", "root", "cert", "key"):
    parser.add_argument(f"--{flag}", default="")
flags = parser.parse_args()


def serve(sock):
    connection = Connection(sock, False, preface=False)
    # SETTINGS come late: until then the protocol's defaults hold, and a client may already be sending.
    time.sleep(0.2)
    codes = h2.settings.SettingCodes
    initial = {codes.INITIAL_WINDOW_SIZE: 77_777, codes.MAX_CONCURRENT_STREAMS: 40}
    connection.h2.local_settings = h2.settings.Settings(client=False, initial_values=initial)
    connection.h2.initiate_connection()
    connection.flush()
    connection.piece = 900
    echoed = {}
    try:
        while not connection.closed:
            connection.pump(0.5)
            for stream, headers in connection.requests:
                emit(event="request", authority=headers.get(":authority"), method=headers.get(":method"), names=sorted(headers))
                connection.h2.send_headers(stream, [(":status", "200"), ("x-filler", "f" * 500)])
                echoed[stream] = 0
            connection.requests.clear()
            for stream in list(echoed):
                echo(connection, stream, echoed)
            connection.flush()
    except (h2.exceptions.ProtocolError, Failure) as error:
        emit(event="violation", error=f"{type(error).__name__}: {error}")
    except OSError:
        pass


def echo(connection, stream, echoed):
    if stream in connection.resets:
        del echoed[stream]
        return
    data = connection.data.get(stream, b"")
    while echoed[stream] < len(data):
        window = min(connection.h2.local_flow_control_window(stream), 1000)
        if window <= 0:
            return
        chunk = bytes(data[echoed[stream] : echoed[stream] + window])
        connection.h2.send_data(stream, chunk, pad_length=len(chunk) % 7)
        echoed[stream] += len(chunk)
    if stream in connection.ended:
        connection.h2.end_stream(stream)
        del echoed[stream]


context = server_context(flags)
listener = socket.create_server(split_address(flags.listen), backlog=256)
emit(event="ready")


def handshake(raw):
    try:
        sock = context.wrap_socket(raw, server_side=True)
    except OSError as error:
        emit(event="handshake-failed", error=str(error))
        return
    names = [value for kind, value in sock.getpeercert().get("subjectAltName", ()) if kind == "URI"]
    emit(event="connection", identity=names, tls=sock.version(), alpn=sock.selected_alpn_protocol())
    serve(sock)


while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=handshake, args=(accepted,), daemon=True).start()
sys.exit(0)
