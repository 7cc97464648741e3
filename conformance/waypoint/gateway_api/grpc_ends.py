"""Both ends of gRPC by grpcio, of any service and method. `serve NAME ADDRESS` until standard input ends; it says in its answer who it is
and what it saw. `call`: calls as lines of JSON on standard input, answers as lines of JSON."""

import json
import sys

import grpc

SEEN = ("x-set", "x-add", "x-gone", "x-a", "x-b")
ANSWERED = ("x-more", "x-secret")


def pairs(metadata, names):
    return sorted([key, value] for key, value in metadata if key in names)


class Any(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, details):
        def answer(_request, context):
            context.send_initial_metadata((("x-secret", "s"),))
            seen = pairs(context.invocation_metadata(), SEEN)
            return json.dumps({"version": self.name, "path": details.method, "metadata": seen}).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def serve(name, address):
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(max_workers=8), handlers=(Any(name),))
    if server.add_insecure_port(address) == 0:
        raise SystemExit(f"{address} cannot be bound")
    server.start()
    print("serving", flush=True)
    sys.stdin.read()
    server.stop(None)


def call(line):
    asked = json.loads(line)
    with grpc.insecure_channel(asked["address"]) as channel:
        try:
            method = channel.unary_unary(asked["path"])
            answer, done = method.with_call(b"", metadata=list(asked["metadata"].items()), timeout=30)
            return {**json.loads(answer), "status": "OK", "answered": pairs(done.initial_metadata(), ANSWERED)}
        except grpc.RpcError as error:
            return {"status": error.code().name}


if sys.argv[1] == "serve":
    serve(sys.argv[2], sys.argv[3])
else:
    for each in sys.stdin:
        print(json.dumps(call(each)), flush=True)
