"""An application over HTTP/1.1 that says who it is and what it was asked: `http_app.py ADDRESS PORT NAME`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

address, port, name = sys.argv[1:4]


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = json.dumps({"name": name, "line": f"{self.command} {self.path}"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_GET

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((address, int(port)), App)
print("serving", flush=True)
server.serve_forever()
