"""Says every WebSocket message back."""
import asyncio
import sys

import websockets


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    async with websockets.serve(echo, sys.argv[2], int(sys.argv[1]), max_size=None):
        print("ready", flush=True)
        await asyncio.Future()


asyncio.run(main())
