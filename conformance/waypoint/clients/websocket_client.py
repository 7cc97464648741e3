"""Python's websockets as a client of the URL: a text, a binary message of a megabyte, a ping, and an orderly end. Prints "ok"."""

import sys

from websockets.sync.client import connect

with connect(sys.argv[1], max_size=None, compression=None, proxy=None) as socket:
    socket.send("hello")
    assert socket.recv() == "hello"
    large = bytes(range(256)) * 4096
    socket.send(large)
    assert socket.recv() == large
    assert socket.ping().wait(20)
    socket.close(1000, "done")
    assert socket.close_code == 1000
print("ok")
