"""A delta xDS client by grpcio and protobuf, which knows nothing of ours but the .proto files (as descriptors), and raw HTTP/2 by h2."""

import collections
import json
import queue
import socket
import ssl
import sys
import threading
import time

import grpc
import h2.config
import h2.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

with open(sys.argv[1], encoding="utf-8") as file:
    facts = json.load(file)

pool = descriptor_pool.DescriptorPool()
with open(facts["descriptors"], "rb") as file:
    for each in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
        pool.Add(each)


def message(name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


Request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
Response = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"
TRUST = "type.googleapis.com/fairlead.v1.TrustBundle"
PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
MESSAGES = {
    ADDRESS: message("istio.workload.Address"),
    AUTHORIZATION: message("istio.security.Authorization"),
    TRUST: message("fairlead.v1.TrustBundle"),
}


class Failure(Exception):
    """A rule does not hold."""


def expect(value, wanted, what="got"):
    if value != wanted:
        raise Failure(f"{what} {value!r}, wanted {wanted!r}")


def ask(**request):
    """Has the harness do what needs a command or a process; answers with what it said."""
    print(json.dumps({"ask": request}), flush=True)
    answer = json.loads(sys.stdin.readline())
    if "error" in answer:
        raise Failure(f"{request}: {answer['error']}")
    return answer["answer"]


# What has to come is waited for until it is there; so long only where it never comes, however busy the machine is.
HANG = 60.0

# What was applied is pushed once it has been quiet for a moment; who connects within it is told of it a moment later.
QUIET = 0.1


def apply(*documents):
    ask(what="apply", documents="---\n".join(documents))
    time.sleep(QUIET)


def delete(kind, *names):
    ask(what="delete", keys=[f"{kind} {name}" for name in names])
    time.sleep(QUIET)


def channel(key=None, chain=None):
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) if key else None
    # One connection of its own for each: a killed server must not leave a shared one in back-off.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 200 * 1024 * 1024)]
    return grpc.secure_channel(
        facts["target"], grpc.ssl_channel_credentials(facts["roots"].encode(), private, chain), options
    )


def new_request(request, first, node, subscribe=(), unsubscribe=(), initial=None, nonce="", error=None):
    made = Request(type_url=request, response_nonce=nonce)
    made.resource_names_subscribe.extend(subscribe)
    made.resource_names_unsubscribe.extend(unsubscribe)
    for name, version in (initial or {}).items():
        made.initial_resource_versions[name] = version
    if error is not None:
        made.error_detail.code = 0
        made.error_detail.message = error
    if first and node is not None:
        made.node.id = node["id"]
        for name, value in node.get("metadata", {}).items():
            made.node.metadata[name] = value
    return made


def ztunnel_node(namespace="shop", name="db", ip="10.0.0.2", **metadata):
    """As ztunnel describes itself (node of its src/xds/client.rs)."""
    return {
        "id": f"ztunnel~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local",
        "metadata": {"NAME": name, "NAMESPACE": namespace, "INSTANCE_IPS": ip, **metadata},
    }


class Stream:
    """One stream of deltas. `held` is what a client has by now: type → name → (version, decoded resource)."""

    def __init__(self, token=None, credentials=(None, None), node=None, metadata=()):
        self.node = node if node is not None else ztunnel_node()
        self.first = True
        self.held = collections.defaultdict(dict)
        self.ended_at = None
        self.error = None
        self._out = queue.SimpleQueue()
        self._in = queue.SimpleQueue()
        self._channel = channel(*credentials)
        headers = list(metadata) + ([("authorization", f"Bearer {token}")] if token is not None else [])
        # Bytes, so that half of what is checked is not the library's own leniency.
        self._call = self._channel.stream_stream(PATH)(iter(self._out.get, None), metadata=headers)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        try:
            for each in self._call:
                self._in.put(Response.FromString(each))
        except grpc.RpcError as error:
            self.error = error
        self.ended_at = time.monotonic()
        self._in.put(None)

    def ask(self, type_url, **rest):
        self._out.put(new_request(type_url, self.first, self.node, **rest).SerializeToString())
        self.first = False

    def raw(self, body):
        self._out.put(body)

    def next(self, timeout=HANG):
        try:
            response = self._in.get(timeout=timeout)
        except queue.Empty:
            raise Failure(f"no response in {timeout} s") from None
        if response is None:
            raise Failure(f"the stream ended: {self.status()}")
        return response

    def silent(self, seconds=0.4):
        try:
            response = self._in.get(timeout=seconds)
        except queue.Empty:
            return
        raise Failure(f"unasked: {describe(response) if response else self.status()}")

    def ack(self, response):
        self.ask(response.type_url, nonce=response.nonce)

    def nack(self, response, reason):
        self.ask(response.type_url, nonce=response.nonce, error=reason)

    def take(self, response):
        """Applies it as a client does, and decodes what is in it."""
        held = self.held[response.type_url]
        kind = MESSAGES.get(response.type_url)
        for each in response.resources:
            expect(each.resource.type_url, response.type_url, "type of the resource")
            held[each.name] = (each.version, kind.FromString(each.resource.value) if kind else each.resource.value)
        for name in response.removed_resources:
            held.pop(name, None)
        return response

    def get(self, timeout=HANG):
        """The next response, applied and acknowledged."""
        response = self.take(self.next(timeout))
        self.ack(response)
        return response

    def open(self, types=(ADDRESS, AUTHORIZATION), initial=None, **rest):
        """Subscribes to everything, as ztunnel does, and takes the first answers."""
        for type_url in types:
            self.ask(type_url, initial=(initial or {}).get(type_url), **rest)
        return {response.type_url: response for response in [self.get() for _ in types]}

    def versions(self, type_url):
        return {name: version for name, (version, _) in self.held[type_url].items()}

    def status(self, timeout=HANG):
        """How the stream ended: name of the code, or None when it did not."""
        deadline = time.monotonic() + timeout
        while self.ended_at is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.ended_at is None:
            return None
        return self.error.code().name if self.error is not None else "OK"

    def close(self):
        self._out.put(None)
        self._call.cancel()
        self._channel.close()


def names(response):
    return sorted(each.name for each in response.resources)


def describe(response):
    return f"{response.type_url.split('.')[-1]} +{names(response)} -{sorted(response.removed_resources)}"


def unary(method, request, answer, token=None, credentials=(None, None)):
    headers = [("authorization", f"Bearer {token}")] if token is not None else []
    with channel(*credentials) as connection:
        call = connection.unary_unary(method, message(request.DESCRIPTOR.full_name).SerializeToString, message(answer).FromString)
        return call(request, metadata=headers, timeout=HANG)


def join(node):
    """A node's credential, by a join token: its key, and its chain without the roots."""
    words = ask(what="join", words=["--node", node])
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    request = message("fairlead.v1.JoinRequest")(
        token=words[words.index("--join-token") + 1],
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(),
        node_name=node,
    )
    answer = unary("/fairlead.v1.JoinService/Join", request, "fairlead.v1.JoinResponse")
    return key, "".join(answer.cert_chain[:-1]).encode()


class RawStream:
    """The same call with frames made by hand, for what a good library never does."""

    def __init__(self, token):
        context = ssl.create_default_context(cadata=facts["roots"])
        context.set_alpn_protocols(["h2"])
        host, port = facts["target"].split(":")
        self.socket = context.wrap_socket(socket.create_connection((host, int(port)), HANG), server_hostname=host)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        # Of DATA: what was looked at and not yet handed out, and what no window was opened for.
        self.unread, self.owed = b"", 0
        self.stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.stream, [
            (":method", "POST"), (":scheme", "https"), (":path", PATH), (":authority", facts["target"]),
            ("content-type", "application/grpc"), ("te", "trailers"), ("authorization", f"Bearer {token}"),
        ])
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def data(self, body):
        self.h2.send_data(self.stream, body)
        self.flush()

    def message(self, body):
        self.data(b"\0" + len(body).to_bytes(4, "big") + body)

    def peek(self):
        """Waits for the first DATA and opens no window for it: the server has answered, and has no room for the rest."""
        self.read(HANG, until=lambda got: got != b"", opens=False)

    def messages(self, count):
        """The next whole messages of the body, as soon as so many are there."""
        whole = lambda got: len(list(split_messages(got))) >= count
        body, _ = self.read(HANG, until=whole)
        found = list(split_messages(body))
        if len(found) < count:
            raise Failure(f"{len(found)} of {count} messages came")
        return found

    def read(self, seconds, until=lambda got: False, opens=True):
        """DATA of the stream for a while, or until there is enough of it, with windows opened; False at its end."""
        got, deadline = self.unread, time.monotonic() + seconds
        self.unread = b""
        if opens and self.owed > 0:
            self.h2.acknowledge_received_data(self.owed, self.stream)
            self.owed = 0
            self.flush()
        while not until(got) and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                received = self.socket.recv(65536)
            except (TimeoutError, ssl.SSLError):
                break
            if not received:
                return got, False
            ended = False
            for event in self.h2.receive_data(received):
                if isinstance(event, h2.events.DataReceived):
                    got += event.data
                    self.owed += event.flow_controlled_length
                ended = ended or isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated))
            if opens and self.owed > 0:
                self.h2.acknowledge_received_data(self.owed, self.stream)
                self.owed = 0
            self.flush()
            if ended:
                return got, False
        if not opens:
            self.unread = got
        return got, True

    def close(self):
        self.socket.close()


def split_messages(body):
    """Whole messages of a gRPC body."""
    at = 0
    while at + 5 <= len(body):
        length = int.from_bytes(body[at + 1 : at + 5], "big")
        if at + 5 + length > len(body):
            break
        yield Response.FromString(body[at + 5 : at + 5 + length])
        at += 5 + length


def run(checks):
    for case, check in checks:
        detail = ""
        try:
            check()
        except Exception as error:  # a crash of one rule is that rule's failure
            frame = error.__traceback__
            while frame.tb_next is not None:
                frame = frame.tb_next
            detail = f"{type(error).__name__}: {error} (line {frame.tb_lineno})"
        print(json.dumps({"case": case, "ok": detail == "", "detail": detail}), flush=True)
