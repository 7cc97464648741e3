"""Both ends of gRPC by grpcio: `serve ADDRESS` until standard input ends, or `call ADDRESS METHOD [NAME=VALUE …]`."""

import json
import sys

import grpc


def get(request, context):
    context.set_trailing_metadata((("x-trailer", "said"),))
    headers = dict(context.invocation_metadata())
    return json.dumps({"said": request.decode(), "peer": headers.get("x-forwarded-client-cert", "")}).encode()


def watch(request, _context):
    for i in range(3):
        yield b"%s %d" % (request, i)


def chat(requests, _context):
    for request in requests:
        yield b"to " + request


def serve(address):
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "Set": grpc.unary_unary_rpc_method_handler(get),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Stock", handlers),))
    server.add_insecure_port(address)
    server.start()
    print("serving", flush=True)
    sys.stdin.read()
    server.stop(None)


def call(address, method, pairs):
    metadata = [tuple(pair.split("=", 1)) for pair in pairs]
    said = {}
    with grpc.insecure_channel(address) as channel:
        path = f"/shop.Stock/{method}"
        try:
            if method == "Watch":
                said["answers"] = [a.decode() for a in channel.unary_stream(path)(b"w", metadata=metadata, timeout=10)]
            elif method == "Chat":
                asked = iter([b"one", b"two"])
                said["answers"] = [a.decode() for a in channel.stream_stream(path)(asked, metadata=metadata, timeout=10)]
            else:
                answer, done = channel.unary_unary(path).with_call(b"hello", metadata=metadata, timeout=10)
                said["answers"] = [answer.decode()]
                said["trailers"] = dict(done.trailing_metadata())
            said["status"] = "OK"
        except grpc.RpcError as error:
            said["status"] = error.code().name
            said["details"] = error.details()
    print(json.dumps(said), flush=True)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    call(sys.argv[2], sys.argv[3], sys.argv[4:])
