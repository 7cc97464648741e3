"""A server of grpcio that our RpcChannel calls. Ends when its standard input does."""

import asyncio
import json
import sys

import grpc

with open(sys.argv[1], encoding="utf-8") as file:
    facts = json.load(file)
cancelled = []
hanging = []


async def unary(request, _context):
    return request


async def stream(requests, _context):
    async for request in requests:
        yield request


async def fail(request, context):
    code, message = json.loads(request)
    codes = {code.value[0]: code for code in grpc.StatusCode}
    await context.abort(codes[code], message)


async def metadata(_request, context):
    found = {}
    for key, value in context.invocation_metadata():
        found.setdefault(key, []).append(list(value) if isinstance(value, bytes) else value)
    return json.dumps({**found, "remaining": context.time_remaining()}).encode()


async def hang(request, _context):
    hanging.append(request.decode())
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        cancelled.append(request.decode())
        raise
    return b""


async def told(_request, _context):
    return json.dumps(cancelled).encode()


async def reached(_request, _context):
    return json.dumps(hanging).encode()


async def flood(requests, _context):
    async for request in requests:
        for _ in range(int(request)):
            yield b"f" * 65_536


async def chain(_request, context):
    return str(len(context.auth_context().get("x509_pem_cert", []))).encode()


async def trailers_only(_request, context):
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "")


async def twice(_request, _context):
    yield b"one"
    yield b"two"


def handlers():
    one = grpc.unary_unary_rpc_method_handler
    return grpc.method_handlers_generic_handler(
        "test.Echo",
        {
            "Unary": one(unary),
            "Fail": one(fail),
            "Metadata": one(metadata),
            "Hang": one(hang),
            "Cancelled": one(told),
            "Hanging": one(reached),
            "Chain": one(chain),
            "Refuse": one(trailers_only),
            "Stream": grpc.stream_stream_rpc_method_handler(stream),
            "Flood": grpc.stream_stream_rpc_method_handler(flood),
            "Twice": grpc.unary_stream_rpc_method_handler(twice),
        },
    )


async def main():
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_concurrent_streams", 2000)]
    server = grpc.aio.server(options=unbounded)
    server.add_generic_rpc_handlers((handlers(),))
    pair = [(facts["key"].encode(), facts["certificate"].encode())]
    credentials = grpc.ssl_server_credentials(pair, facts["root"].encode(), require_client_auth=False)
    server.add_secure_port(facts["target"], credentials)
    strict = grpc.ssl_server_credentials(pair, facts["root"].encode(), require_client_auth=True)
    server.add_secure_port(facts["strict"], strict)
    await server.start()
    print(json.dumps({"event": "ready"}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    await server.stop(1)


asyncio.run(main())
