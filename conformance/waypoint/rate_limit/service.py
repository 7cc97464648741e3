"""Envoy's rate limit service by grpcio, over TLS: at one port for every client, at the other for those with a certificate. Each descriptor
has two requests. Prints its ports, then a line of JSON for each call. Arguments: certificate, key, roots of clients. Ends with its standard
input. Messages are read and written by hand: there is no Envoy in it."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

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


def all_of(data, number):
    return [value for field, value in fields(data) if field == number]


def say(line):
    print(json.dumps(line), flush=True)


taken = {}


def should_rate_limit(request, context):
    domain = all_of(request, 1)[0].decode()
    (descriptor,) = all_of(request, 2)
    entries = [[part.decode() for _, part in fields(entry)] for entry in all_of(descriptor, 1)]
    names = context.auth_context().get("x509_common_name", [])
    say({"domain": domain, "entries": entries, "client": [name.decode() for name in names]})
    key = json.dumps([domain, entries])
    taken[key] = taken.get(key, 0) + 1
    left = 2 - taken[key]
    code = 1 if left >= 0 else 2
    # code, limit_remaining, duration_until_reset { seconds: 30 }
    status = bytes([0x08, code, 0x18, max(0, left), 0x22, 2, 0x08, 30])
    return bytes([0x08, code, 0x12, len(status)]) + status


def serve(credentials):
    handler = grpc.unary_unary_rpc_method_handler(should_rate_limit)
    service = "envoy.service.ratelimit.v3.RateLimitService"
    handlers = [grpc.method_handlers_generic_handler(service, {"ShouldRateLimit": handler})]
    server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=handlers)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, port


certificate, key, roots = [open(path, "rb").read() for path in sys.argv[1:4]]
for_all, port = serve(grpc.ssl_server_credentials([(key, certificate)]))
for_known, known_port = serve(grpc.ssl_server_credentials([(key, certificate)], roots, True))
say({"port": port, "mutual": known_port})
sys.stdin.read()
for_all.stop(None)
for_known.stop(None)
