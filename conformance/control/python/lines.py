"""Applications of one line each way. `serve IP PORT` says every line back; `hold IP PORT` sends what it is given and prints what comes."""

import socket
import socketserver
import sys
import threading

mode, ip, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def serve():
    with Server((ip, port), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("serving", flush=True)
        sys.stdin.read()


def hold():
    def receive(connection):
        try:
            for line in connection.makefile("r"):
                print(line.strip(), flush=True)
            print("ended", flush=True)
        except OSError as error:
            print(f"ended {error}", flush=True)

    try:
        connection = socket.create_connection((ip, port), 10)
    except OSError as error:
        print(f"ended {error}", flush=True)
        return
    connection.settimeout(None)
    threading.Thread(target=receive, args=(connection,), daemon=True).start()
    for line in sys.stdin:
        try:
            connection.sendall(line.encode())
        except OSError:
            break


if mode == "serve":
    serve()
else:
    hold()
