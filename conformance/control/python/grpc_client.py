"""Calls our RpcServer by grpcio, another implementation of gRPC. Prints one JSON line a case."""

import asyncio
import json
import sys
import time

import grpc

with open(sys.argv[1], encoding="utf-8") as file:
    facts = json.load(file)


class Failure(Exception):
    """A rule does not hold."""


def expect(value, wanted, what="got"):
    if value != wanted:
        raise Failure(f"{what} {value!r}, wanted {wanted!r}")


def new_channel(*options):
    credentials = grpc.ssl_channel_credentials(facts["root"].encode())
    unbounded = ("grpc.max_receive_message_length", -1)
    own = ("grpc.use_local_subchannel_pool", 1)
    return grpc.aio.secure_channel(facts["target"], credentials, options=(unbounded, own, *options))


def unary(channel, name):
    return channel.unary_unary(f"/test.Echo/{name}")


def stream(channel, name="Stream"):
    return channel.stream_stream(f"/test.Echo/{name}")


async def code_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


async def unary_echo(channel):
    for message in (b"hello", b"", bytes(range(256)) * 300):
        expect(await unary(channel, "Unary")(message), message)


async def large_messages(channel):
    message = b"x" * (4 * 1024 * 1024)
    expect(await unary(channel, "Unary")(message) == message, True, "4 MiB came back")
    code, _ = await code_of(unary(channel, "Unary")(message + b"x"))
    expect(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect(await unary(channel, "Unary")(b"after"), b"after")


async def every_status(channel):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        got, details = await code_of(unary(channel, "Fail")(json.dumps([code.value[0], "nö: 100 %\n"]).encode()))
        expect((got, details), (code, "nö: 100 %\n"))


async def a_bug_tells_nothing(channel):
    expect(await code_of(unary(channel, "Bug")(b"")), (grpc.StatusCode.INTERNAL, "internal error"))


async def metadata(channel):
    sent = (("authorization", "Bearer abc"), ("x-two", "a"), ("x-two", "b"), ("x-raw-bin", b"\x00\xff\x10"))
    got = json.loads(await unary(channel, "Metadata")(b"", metadata=sent))
    expect(got["authorization"], ["Bearer abc"])
    expect(got["x-two"], ["a", "b"])
    expect(got["x-raw-bin"], [[0, 255, 16]])
    expect(got["te"], ["trailers"])


async def unknown_method(channel):
    code, _ = await code_of(unary(channel, "Absent")(b""))
    expect(code, grpc.StatusCode.UNIMPLEMENTED)


async def deadline(channel):
    # Longer each time, until the call has reached its handler before it was over.
    seconds = 0.2
    while "deadline" not in json.loads(await unary(channel, "Hanging")(b"")):
        code, _ = await code_of(unary(channel, "Hang")(b"deadline", timeout=seconds))
        expect(code, grpc.StatusCode.DEADLINE_EXCEEDED)
        seconds *= 3
    await was_cancelled(channel, "deadline")


async def cancellation(channel):
    call = unary(channel, "Hang")(b"cancel")
    await hangs(channel, "cancel")
    call.cancel()
    await was_cancelled(channel, "cancel")


async def lost_connection_cancels(channel):
    other = new_channel()
    call = unary(other, "Hang")(b"lost")
    await hangs(channel, "lost")
    await other.close(grace=0)
    try:
        await call
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass
    await was_cancelled(channel, "lost")


async def hangs(channel, name):
    """Waits until the call is at its handler."""
    while name not in json.loads(await unary(channel, "Hanging")(b"")):
        await asyncio.sleep(0.02)


# A hang alone reaches it, however busy the machine is.
HANG = 60.0


async def was_cancelled(channel, name):
    end = time.monotonic() + HANG
    while name not in json.loads(await unary(channel, "Cancelled")(b"")):
        if time.monotonic() > end:
            raise Failure(f"the handler of {name} was not told")
        await asyncio.sleep(0.05)


async def bidirectional(channel):
    call = stream(channel)()
    for index in range(1000):
        await call.write(f"{index}".encode())
        expect(await call.read(), f"{index}".encode())
    await call.done_writing()
    expect(await call.read(), grpc.aio.EOF)
    expect(await call.code(), grpc.StatusCode.OK)


async def bulk_both_ways(channel):
    call = stream(channel)()
    count, message = 400, b"y" * 100_000

    async def write():
        for _ in range(count):
            await call.write(message)
        await call.done_writing()

    writing = asyncio.ensure_future(write())
    received = 0
    while await call.read() is not grpc.aio.EOF:
        received += 1
    await writing
    expect(received, count)
    expect(await call.code(), grpc.StatusCode.OK)


async def slow_reader(channel):
    call = stream(channel, "Flood")()
    await call.write(b"2000")
    await asyncio.sleep(1.0)
    # What the server had sent while the client did not read: windows and its high-water mark, not everything.
    ahead = int(await unary(new_channel(), "Flooded")(b""))
    received = 0
    while await call.read() is not grpc.aio.EOF:
        received += 1
    expect(received, 2000)
    if ahead >= 2000:
        raise Failure(f"the server had sent {ahead} messages of 64 KiB to a client that did not read")


async def thousand_streams(channel):
    calls = [stream(channel)() for _ in range(1000)]
    await asyncio.gather(*(call.write(f"{index}".encode()) for index, call in enumerate(calls)))
    answers = await asyncio.gather(*(call.read() for call in calls))
    expect([answer.decode() for answer in answers], [str(index) for index in range(1000)])
    expect(json.loads(await unary(channel, "Load")(b""))["mine"] >= 1000, True, "on one connection")
    await asyncio.gather(*(call.done_writing() for call in calls))
    codes = await asyncio.gather(*(call.code() for call in calls))
    expect(set(codes), {grpc.StatusCode.OK})


async def server_ends_a_stream(channel):
    call = stream(channel, "Refuse")()
    try:
        await call.write(b"x")
        await call.read()
    except grpc.aio.AioRpcError:
        pass
    expect(await call.code(), grpc.StatusCode.PERMISSION_DENIED)


async def compression_is_refused(_channel):
    other = new_channel(("grpc.default_compression_algorithm", 2))
    code, _ = await code_of(unary(other, "Unary")(b"z" * 100_000))
    expect(code, grpc.StatusCode.UNIMPLEMENTED)
    await other.close()


async def cardinality(channel):
    two = channel.stream_unary("/test.Echo/Unary")
    code, _ = await code_of(two(iter([b"a", b"b"])))
    expect(code, grpc.StatusCode.UNIMPLEMENTED)
    code, _ = await code_of(two(iter([])))
    expect(code, grpc.StatusCode.UNIMPLEMENTED)


async def client_certificate(_channel):
    chain, key = facts["certificate"].encode(), facts["key"].encode()
    credentials = grpc.ssl_channel_credentials(facts["root"].encode(), key, chain)
    async with grpc.aio.secure_channel(facts["target"], credentials) as known:
        # The leaf, and the trust anchor where the server's TLS library adds it.
        expect(int(await unary(known, "Chain")(b"")) in (1, 2), True, "a chain of one or two")
    async with new_channel() as unknown:
        expect(int(await unary(unknown, "Chain")(b"")), 0)


async def survives_a_drain(channel):
    """GOAWAY: the call under way is finished, the next one finds another server at the same place."""
    call = stream(channel)()
    await call.write(b"before")
    expect(await call.read(), b"before")
    await unary(channel, "Restart")(b"")
    await call.write(b"during")
    expect(await call.read(), b"during")
    await call.done_writing()
    expect(await call.code(), grpc.StatusCode.OK)
    expect(await unary(channel, "Unary")(b"after", wait_for_ready=True, timeout=HANG), b"after")


CASES = [
    unary_echo,
    large_messages,
    every_status,
    a_bug_tells_nothing,
    metadata,
    unknown_method,
    cardinality,
    deadline,
    cancellation,
    lost_connection_cancels,
    bidirectional,
    bulk_both_ways,
    slow_reader,
    thousand_streams,
    server_ends_a_stream,
    compression_is_refused,
    client_certificate,
    survives_a_drain,
]


async def main():
    for case in CASES:
        channel = new_channel()
        problem = ""
        try:
            await asyncio.wait_for(case(channel), 60)
        except Exception as error:  # pylint: disable=broad-except
            problem = f"{type(error).__name__}: {error}"
        await channel.close()
        print(json.dumps({"case": case.__name__.replace("_", "-"), "ok": problem == "", "detail": problem}), flush=True)


asyncio.run(main())
