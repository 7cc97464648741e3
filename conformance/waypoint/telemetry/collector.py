"""A receiver of the OpenTelemetry protocol over HTTP and gRPC, by the project's own Python messages. Prints its ports, then a line of JSON
for each request: how it came, and what is in it. Under /hang/ it never answers; the first log records over gRPC are told to come later.
Ends with its standard input. Arguments: certificate and key of gRPC over TLS."""

import base64
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

MESSAGES = {
    "/v1/traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "/v1/logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
}
IDS = ("traceId", "spanId", "parentSpanId")


def changed(value, change):
    """Ids are hexadecimal in OTLP's JSON, and base64 in that of Protocol Buffers."""
    if isinstance(value, list):
        return [changed(item, change) for item in value]
    if isinstance(value, dict):
        return {k: change(v) if k in IDS else changed(v, change) for k, v in value.items()}
    return value


def to_base64(text):
    return base64.b64encode(bytes.fromhex(text)).decode()


def to_hex(text):
    return base64.b64decode(text).hex()


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/hang/"):
            say({"path": self.path})
            time.sleep(3600)
        request, response = MESSAGES[self.path]
        message = request()
        kind = self.headers["content-type"]
        try:
            if kind == "application/x-protobuf":
                message.ParseFromString(body)
                # A field that the messages do not have would be an error of the sender.
                if message.SerializeToString(deterministic=True) == b"":
                    raise ValueError("nothing in it")
            elif kind == "application/json":
                # Unknown fields are errors here.
                json_format.ParseDict(changed(json.loads(body), to_base64), message)
            else:
                raise ValueError(kind)
        except Exception as error:
            say({"path": self.path, "error": repr(error)})
            self.send_response(400)
            self.end_headers()
            return
        shown = changed(json_format.MessageToDict(message), to_hex)
        say({"path": self.path, "kind": kind, "token": self.headers.get("x-token"), "message": shown})
        answer = response()
        if kind == "application/json":
            out = json_format.MessageToJson(answer).encode()
        else:
            out = answer.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *args):
        pass


def exporting(path, request, response, scheme):
    def export(message, context):
        metadata = dict(context.invocation_metadata())
        shown = changed(json_format.MessageToDict(message), to_hex)
        kind = f"grpc {scheme} {metadata.get('content-type', 'application/grpc')}"
        is_first = path == "/v1/logs" and not TOLD_TO_WAIT.locked()
        said = {"path": path, "kind": kind, "token": metadata.get("x-token"), "message": {} if is_first else shown}
        say({**said, "later": is_first})
        if is_first:
            TOLD_TO_WAIT.acquire()
            context.abort(grpc.StatusCode.UNAVAILABLE, "come again")
        return response()

    # A message that cannot be read ends the call with INTERNAL.
    return grpc.unary_unary_rpc_method_handler(export, request.FromString, response.SerializeToString)


def grpc_server(scheme):
    handlers = []
    for path, (request, response) in MESSAGES.items():
        name = request.DESCRIPTOR.file.services_by_name
        (service,) = name.values()
        methods = {"Export": exporting(path, request, response, scheme)}
        handlers.append(grpc.method_handlers_generic_handler(service.full_name, methods))
    return grpc.server(ThreadPoolExecutor(max_workers=8), handlers=handlers)


TOLD_TO_WAIT = threading.Lock()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
ports = {"port": server.server_address[1]}
with open(sys.argv[1], "rb") as certificate, open(sys.argv[2], "rb") as key:
    credentials = grpc.ssl_server_credentials([(key.read(), certificate.read())])
in_clear, over_tls = grpc_server("http"), grpc_server("https")
ports["grpc"] = in_clear.add_insecure_port("127.0.0.1:0")
ports["grpcs"] = over_tls.add_secure_port("127.0.0.1:0", credentials)
in_clear.start()
over_tls.start()
say(ports)
sys.stdin.read()
os._exit(0)
