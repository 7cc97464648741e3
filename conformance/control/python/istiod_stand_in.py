"""
Not istiod: a script of what istiod says to an ambient client (pilot/pkg/xds/delta.go, workload.go), for where no istiod is at hand. xDS and CA on one
TLS port, bearer tokens, an empty identifier, policies without versions, raw resources for the root namespace alone. Commands come as
lines; what a client answers is told in JSON.
"""

import base64
import datetime
import json
import os
import queue
import sys
import threading
from concurrent import futures

import grpc
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
CertificateRequest = message("istio.v1.auth.IstioCertificateRequest")
CertificateResponse = message("istio.v1.auth.IstioCertificateResponse")
Address = message("istio.workload.Address")
Authorization = message("istio.security.Authorization")
ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"
lock = threading.RLock()
streams = set()
resources = {ADDRESS: {}, AUTHORIZATION: {}}
tokens = dict(facts["tokens"])


def tell(**what):
    print(json.dumps(what), flush=True)


def workload(name, ip):
    made = Address()
    one = made.workload
    one.uid = f"Kubernetes/networking.istio.io/WorkloadEntry/shop/{name}"
    one.name, one.namespace, one.service_account, one.cluster_id = name, "shop", name, "Kubernetes"
    one.addresses.append(ip)
    one.tunnel_protocol, one.workload_type = 1, 2
    return one.uid, made.SerializeToString()


def waypoint_scene(port):
    """`api.shop.mesh` behind the waypoint of the root namespace, with an endpoint of each version that takes no HBONE."""
    found = {}
    service = Address()
    one = service.service
    one.name, one.namespace, one.hostname, one.canonical = "api", "shop", "api.shop.mesh", True
    one.addresses.add().address = bytes([240, 6, 0, 1])
    served = one.ports.add()
    served.service_port, served.target_port, served.app_protocol = 80, port, 1
    one.waypoint.address.address = bytes([127, 9, 0, 9])
    one.waypoint.hbone_mtls_port = 15008
    found["shop/api.shop.mesh"] = service.SerializeToString()
    hosts = [("istio-system", "waypoint", 9, 1, "latest"), ("shop", "api-v1", 11, 0, "v1"), ("shop", "api-v2", 12, 0, "v2")]
    for namespace, name, last, tunnel, revision in hosts:
        made = Address()
        one = made.workload
        one.uid = f"Kubernetes//Pod/{namespace}/{name}"
        one.name, one.namespace, one.service_account, one.cluster_id = name, namespace, name, "Kubernetes"
        one.addresses.append(bytes([127, 9, 0, last]))
        one.tunnel_protocol, one.workload_type, one.canonical_name, one.canonical_revision = tunnel, 2, name, revision
        if namespace == "shop":
            listed = one.services["shop/api.shop.mesh"].ports.add()
            listed.service_port, listed.target_port = 80, port
        found[one.uid] = made.SerializeToString()
    return found


def policy(name):
    made = Authorization(name=name, namespace="shop", scope=1, action=0)
    made.groups.add().rules.add().matches.add().principals.add().exact = "cluster.local/ns/shop/sa/cart"
    return f"shop/{name}", made.SerializeToString()


class Stream:
    def __init__(self, token):
        self.identity = tokens[token]
        self.out = queue.SimpleQueue()
        self.sent = {}
        self.nonce = 0

    def push(self, type_url, changed, removed):
        self.nonce += 1
        response = Response(type_url=type_url, nonce=f"n{self.nonce}", removed_resources=removed)
        for name, value in changed.items():
            one = response.resources.add(name=name)
            # istiod gives policies no versions.
            one.version = "" if type_url == AUTHORIZATION else str(hash(value))
            one.resource.type_url, one.resource.value = type_url, value
        self.sent[type_url] = response.nonce
        self.out.put(response)

    def request(self, request):
        type_url = request.type_url
        if type_url not in self.sent:
            if type_url not in (ADDRESS, AUTHORIZATION) and self.identity[0] != "istio-system":
                raise PermissionError("istio.io api generator: not of the root namespace")
            if type_url.endswith("/ServiceEntry") and request.node.id.startswith("ztunnel~"):
                # A real istiod has no scope of services for a ztunnel, and ends here by a nil pointer.
                os._exit(2)
            tell(subscribed=type_url, held=len(request.initial_resource_versions), node=request.node.id)
            have, held = resources.get(type_url, {}), request.initial_resource_versions
            changed = {name: value for name, value in have.items() if type_url == AUTHORIZATION or held.get(name) != str(hash(value))}
            self.push(type_url, changed, [name for name in held if name not in have])
        elif request.response_nonce != self.sent[type_url]:
            tell(stale=type_url)
        elif request.HasField("error_detail"):
            tell(nack=request.error_detail.message)
        else:
            tell(ack=type_url)


def identity(context):
    found = dict(context.invocation_metadata()).get("authorization", "")
    token = found.removeprefix("Bearer ")
    if token not in tokens:
        tell(refused=found[:16])
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "authentication failure")
    return token


def delta(requests, context):
    stream = Stream(identity(context))
    end = object()

    def receive():
        try:
            for request in requests:
                with lock:
                    stream.request(request)
        except PermissionError as error:
            stream.out.put(error)
        except grpc.RpcError:
            pass
        stream.out.put(end)

    with lock:
        streams.add(stream)
    context.add_callback(lambda: stream.out.put(end))
    threading.Thread(target=receive, daemon=True).start()
    try:
        while (response := stream.out.get()) is not end:
            if isinstance(response, PermissionError):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, str(response))
            yield response
    finally:
        with lock:
            streams.discard(stream)


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def issue(key, subject, issuer_key, issuer, names, ca, hours=24):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
               .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=2))
               .not_valid_after(now + datetime.timedelta(hours=hours))
               .add_extension(x509.BasicConstraints(ca, None), True)
               .add_extension(x509.KeyUsage(not ca, False, not ca, False, False, ca, ca, False, False), True))
    if names:
        eku = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(x509.SubjectAlternativeName(names), True).add_extension(eku, False)
    return builder.sign(issuer_key, hashes.SHA256())


root_key, ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def named(organization):
    return x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization)])


root = issue(root_key.public_key(), named("root"), root_key, named("root"), [], True, 1000)
ca = issue(ca_key.public_key(), named("intermediate"), root_key, named("root"), [], True, 900)


def create_certificate(request, context):
    namespace, account = tokens[identity(context)]
    if request.metadata:
        tell(impersonates=str(request.metadata))
    csr = x509.load_pem_x509_csr(request.csr.encode())
    names = [x509.UniformResourceIdentifier(f"spiffe://cluster.local/ns/{namespace}/sa/{account}")]
    leaf = issue(csr.public_key(), x509.Name([]), ca_key, ca.subject, names, False, request.validity_duration / 3600)
    tell(issued=names[0].value)
    return CertificateResponse(cert_chain=[pem(leaf), pem(ca), pem(root)])


def change(type_url, changed, removed=()):
    with lock:
        resources[type_url].update(changed)
        for name in removed:
            resources[type_url].pop(name, None)
        for stream in streams:
            if type_url in stream.sent:
                stream.push(type_url, dict(changed), list(removed))


def obey(line):
    what, _, rest = line.strip().partition(" ")
    if what == "workload":
        change(ADDRESS, dict([workload(rest, bytes([127, 9, 0, 7]))]))
    elif what == "no-workload":
        change(ADDRESS, {}, [workload(rest, b"")[0]])
    elif what == "policy":
        change(AUTHORIZATION, dict([policy(rest)]))
    elif what == "waypoint-scene":
        change(ADDRESS, waypoint_scene(int(rest)))
    elif what == "no-policy":
        change(AUTHORIZATION, {}, [f"shop/{rest}"])
    elif what == "bad":
        # An address of five bytes, beside a good one in one response.
        change(ADDRESS, dict([workload("bad", bytes(5)), workload("good", bytes([127, 9, 0, 8]))]))
    elif what == "tokens":
        tokens.clear()
        tokens.update(json.loads(rest))


resources[ADDRESS].update([workload("cart", bytes([127, 9, 0, 1])), workload("db", bytes([127, 9, 0, 2]))])
with open(facts["resources"], encoding="utf-8") as file:
    for one in json.load(file)["resources"]:
        resources.setdefault(one["type"], {})[one["name"]] = base64.b64decode(one["value"])
server_certificate = issue(server_key.public_key(), x509.Name([]), ca_key, ca.subject, [x509.DNSName("istiod.istio-system.svc")], False)
with open(facts["root"], "w", encoding="utf-8") as file:
    file.write(pem(root))


def handler(make, call, request, response):
    return make(call, request_deserializer=request.FromString, response_serializer=response.SerializeToString)


server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("envoy.service.discovery.v3.AggregatedDiscoveryService", {
        "DeltaAggregatedResources": handler(grpc.stream_stream_rpc_method_handler, delta, Request, Response),
    }),
    grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", {
        "CreateCertificate": handler(grpc.unary_unary_rpc_method_handler, create_certificate, CertificateRequest, CertificateResponse),
    }),
))
private = server_key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
port = server.add_secure_port(
    "127.0.0.1:0", grpc.ssl_server_credentials([(private, (pem(server_certificate) + pem(ca)).encode())])
)
server.start()
tell(port=port)
for command in sys.stdin:
    obey(command)
    tell(done=command.strip())
server.stop(None)
