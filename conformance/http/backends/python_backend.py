"""Answers every request with what it saw of it, and keeps a line of each for GET /__log__."""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lines = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def content(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            length = 0
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline() not in (b"\r\n", b"\n", b""):
                        pass
                    return length
                length += len(self.rfile.read(size))
                self.rfile.readline()
        return len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def answer(self):
        if self.path == "/__log__":
            body = "\n".join(lines).encode()
            lines.clear()
        else:
            line = f"{self.command} {self.path} {self.headers.get('Host')} {self.content()}"
            lines.append(line)
            body = line.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code, message=None, explain=None):
        lines.append(f"refused {code}")
        self.close_connection = True

    def log_message(self, *arguments):
        pass


for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
    setattr(Handler, f"do_{method}", Handler.answer)
server = ThreadingHTTPServer((sys.argv[2], int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
