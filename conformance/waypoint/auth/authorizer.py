"""External authorizers for a waypoint: gRPC by grpcio and HTTP by Python's own server. Prints both ports. Ends with its standard input.

What is answered goes by the path that is asked about. Messages are read and written by hand: there is no Envoy in it."""

import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """Number and value of each field; only varints and bytes are there."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            length, at = varint(data, at)
            value = data[at : at + length]
            at += length
        yield key >> 3, value


def one(data, *path):
    for number in path:
        data = next((value for field, value in fields(data) if field == number), b"")
    return data


def number(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(field, data):
    data = data.encode() if isinstance(data, str) else data
    return number(field << 3 | 2) + number(len(data)) + data


def header(name, value, append=None):
    option = message(1, message(1, name) + message(2, value))
    # A BoolValue; false is an empty message.
    return option if append is None else option + message(2, b"\x08\x01" if append else b"")


def status(code):
    return message(1, b"\x08" + number(code) if code else b"")


def asked(request):
    http = one(request, 1, 4, 2)
    headers = dict((one(entry, 1).decode(), one(entry, 2).decode()) for field, entry in fields(http) if field == 3)
    return {
        "method": one(http, 2).decode(),
        "path": one(http, 4).decode(),
        "host": one(http, 5).decode(),
        "headers": headers,
        "body": one(http, 11).decode(),
        "raw": one(http, 12).decode(),
        "principal": one(request, 1, 1, 4).decode(),
        "source": one(request, 1, 1, 1, 1, 2).decode(),
    }


async def check(request, context):
    said = asked(request)
    path = said["path"].split("?")[0]
    if path == "/allow":
        ok = message(2, header("x-user", "ann")) + message(2, header("x-tag", "b", True))
        ok += message(2, header("content-length", "0")) + message(5, "x-gone") + message(6, header("x-asked", "yes"))
        return status(0) + message(3, ok)
    if path == "/echo":
        return status(0) + message(3, message(2, header("x-echo", json.dumps(said, sort_keys=True))))
    if path == "/deny":
        denied = message(1, b"\x08" + number(429)) + message(2, header("retry-after", "7")) + message(3, "later")
        return status(7) + message(2, denied)
    if path == "/bare":
        return status(7)
    if path == "/contradiction":
        return status(0) + message(2, message(3, "no"))
    if path == "/success":
        return status(16) + message(2, message(1, b"\x08" + number(200)))
    if path == "/abort":
        await context.abort(grpc.StatusCode.INTERNAL, "broken")
    if path == "/hang":
        await asyncio.sleep(30)
    if path == "/garbage":
        return b"\xff\xff\xff"
    return status(7)


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length", 0))
        said = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(length).decode(),
        }
        path = self.path.split("?")[0].removeprefix("/check")
        if path == "/hang":
            threading.Event().wait(30)
        code = {"/allow": 200, "/echo": 200, "/deny": 429, "/redirect": 302, "/broken": 503, "/created": 201}.get(path, 403)
        body = b"" if self.command == "HEAD" else b"later"
        self.send_response(code)
        for name, value in [("X-User", "ann"), ("X-Other", "a"), ("Set-Cookie", "c=d"), ("Location", "/login")]:
            self.send_header(name, value)
        if path == "/echo":
            self.send_header("X-Echo", json.dumps(said, sort_keys=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_HEAD = answer

    def log_message(self, *_):
        pass


async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": port, "http": http.server_address[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


asyncio.run(main())
