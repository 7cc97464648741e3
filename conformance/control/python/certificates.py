"""The CA and the join service, rule by rule (istiod security/pkg/server/ca/server.go), by grpcio; keys, requests and certificates are cryptography's."""

import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

with open(sys.argv[1], encoding="utf-8") as file:
    facts = json.load(file)
roots = facts["roots"].encode()
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
JOIN = "/fairlead.v1.JoinService/Join"
RENEW = "/fairlead.v1.JoinService/Renew"
CART = "spiffe://cluster.local/ns/shop/sa/cart"
DB = "spiffe://cluster.local/ns/shop/sa/db"
serials = []


class Failure(Exception):
    """A rule does not hold."""


def expect(value, wanted, what="got"):
    if value != wanted:
        raise Failure(f"{what} {value!r}, wanted {wanted!r}")


# Protocol Buffers by hand: another encoder than the one that is tested.


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def text_struct(**entries):
    """google.protobuf.Struct of texts."""
    return b"".join(field(1, field(1, name) + field(2, field(3, value))) for name, value in entries.items())


def certificate_request(csr, seconds=86400, **metadata):
    body = field(1, csr) + varint(3 << 3) + varint(seconds)
    return body + (field(4, text_struct(**metadata)) if metadata else b"")


def parse(data):
    """Fields with a length, as number → list of bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 != 2:
            raise Failure(f"wire type {tag & 7}")
        length = number()
        found.setdefault(tag >> 3, []).append(data[at : at + length])
        at += length
    return found


def channel(key=None, chain=None):
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) if key else None
    return grpc.secure_channel(facts["target"], grpc.ssl_channel_credentials(roots, private, chain))


def call(method, request, token=None, node=None, headers=()):
    """Answers with the fields of the response, or the code and details of the refusal."""
    metadata = list(headers) + ([("authorization", f"Bearer {token}")] if token is not None else [])
    with channel(*(node or (None, None))) as connection:
        try:
            return parse(connection.unary_unary(method)(request, metadata=metadata, timeout=60))
        except grpc.RpcError as error:
            return error.code().name, error.details()


def new_csr(key=None, uri=CART, algorithm=None, ca=False, name=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    if algorithm is None and not isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = hashes.SHA256()
    return key, builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def chain_of(response, key):
    """Checks the rules every answer has, and gives the leaf and the whole chain without the roots."""
    if isinstance(response, tuple):
        raise Failure(f"refused: {response}")
    items = response[1]
    if len(items) < 2:
        raise Failure(f"{len(items)} items")
    for item in items[:-1]:
        expect(len(x509.load_pem_x509_certificates(item)), 1, "certificates in one item")
    anchors = x509.load_pem_x509_certificates(items[-1])
    expect({one.public_bytes(serialization.Encoding.DER) for one in anchors},
           {one.public_bytes(serialization.Encoding.DER) for one in x509.load_pem_x509_certificates(roots)}, "roots")
    leaf = x509.load_pem_x509_certificate(items[0])
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    expect(leaf.public_key().public_bytes(*spki), key.public_key().public_bytes(*spki), "public key")
    # The library's own path validation (RFC 5280), independent of ours.
    others = [x509.load_pem_x509_certificate(item) for item in items[1:-1]]
    PolicyBuilder().store(Store(anchors)).build_client_verifier().verify(leaf, others)
    serials.append(format(leaf.serial_number, "x"))
    return leaf, b"".join(items[:-1])


def identity_of(leaf):
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    expect(names.critical, True, "criticality of the name")
    return [(type(name).__name__, name.value) for name in names.value]


def issued(response, key, uri):
    leaf, chain = chain_of(response, key)
    expect(identity_of(leaf), [("UniformResourceIdentifier", uri)], "names")
    return leaf, chain


UNAUTHENTICATED = ("UNAUTHENTICATED", "request authenticate failure")
IMPERSONATION = ("UNAUTHENTICATED", "request impersonation authentication failure")
good = facts["tokens"]["good"]
node = {}


def create(csr, token=good, **rest):
    metadata = rest.pop("metadata", {})
    seconds = rest.pop("seconds", 86400)
    return call(CREATE, certificate_request(csr, seconds, **metadata), token=token, **rest)


def profile():
    key, csr = new_csr()
    leaf, _ = issued(create(csr), key, CART)
    expect(len(leaf.subject.rdns), 0, "names in the subject")
    expect(leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, False, "CA")
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    expect((usage.digital_signature, usage.key_encipherment, usage.key_cert_sign), (True, True, False), "key usage")
    extended = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    expect(extended, {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}, "extended key usage")
    backdate = time.time() - leaf.not_valid_before_utc.timestamp()
    if not 0 <= backdate <= 600:
        raise Failure(f"begins {backdate} s ago")


def others_names():
    key, csr = new_csr(uri=DB, ca=True, name="admin")
    leaf, _ = issued(create(csr), key, CART)
    expect(leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, False, "CA")
    expect(len(leaf.subject.rdns), 0, "names in the subject")


def lifetimes():
    for seconds, wanted in [(0, 86400), (3600, 3600), (-1, 86400), (10**12, 48 * 3600), (2**63 - 1, 48 * 3600)]:
        key, csr = new_csr()
        asked = time.time()
        leaf, _ = issued(create(csr, seconds=seconds), key, CART)
        # It was issued at some time between then and now.
        end = leaf.not_valid_after_utc.timestamp()
        if not asked + wanted - 5 <= end <= time.time() + wanted + 5:
            raise Failure(f"asked for {seconds} s, got {end - asked:.0f} s")


def key_kinds():
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        issued(create(new_csr(key)[1]), key, CART)


def bad_requests():
    key, pem = new_csr()
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER))
    der[-3] ^= 1
    import base64

    def armour(content):
        return b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(content)) + b"-----END CERTIFICATE REQUEST-----\n"

    cases = {
        "empty": b"",
        "no PEM": b"hello",
        "bad signature": armour(der),
        "cut short": armour(der[:100]),
        "two": pem + pem,
        "RSA 1024": new_csr(rsa.generate_private_key(65537, 1024))[1],
        "P-521": new_csr(ec.generate_private_key(ec.SECP521R1()))[1],
        "secp256k1": new_csr(ec.generate_private_key(ec.SECP256K1()))[1],
        "Ed25519": new_csr(ed25519.Ed25519PrivateKey.generate())[1],
        "a megabyte": armour(bytes(750_000)),
    }
    for name, csr in cases.items():
        answer = create(csr)
        if not isinstance(answer, tuple) or answer[0] != "INVALID_ARGUMENT":
            raise Failure(f"{name}: {answer}")


def bad_tokens():
    _, csr = new_csr()
    header, claims, signature = good.split(".")
    import base64

    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    cases = {name: token for name, token in facts["tokens"].items() if name != "good"}
    cases |= {"alg none": f"{none}.{claims}.", "cut short": good[:-20], "no signature": f"{header}.{claims}."}
    for name, token in cases.items():
        expect(create(csr, token=token), UNAUTHENTICATED, name)
    expect(create(csr, token=None), UNAUTHENTICATED, "no token")
    expect(create(csr, token=None, headers=[("authorization", "Bearer")]), UNAUTHENTICATED, "an empty token")
    expect(create(csr, token=None, headers=[("authorization", good)]), UNAUTHENTICATED, "no scheme")
    expect(create(csr, headers=[("authorization", f"Bearer {good}")]), UNAUTHENTICATED, "two tokens")


def impersonation_by_token():
    _, csr = new_csr()
    expect(create(csr, metadata={"ImpersonatedIdentity": DB}), IMPERSONATION)
    key, csr = new_csr()
    issued(create(csr, metadata={"ImpersonatedIdentity": CART, "CertSigner": "x"}), key, CART)


def unknown_things_are_ignored():
    key, csr = new_csr()
    request = certificate_request(csr) + field(99, "later")
    issued(call(CREATE, request, token=good, headers=[("clusterid", "Kubernetes"), ("x-anything", "1")]), key, CART)


def svid_as_credential():
    key, csr = new_csr()
    _, chain = issued(create(csr), key, CART)
    second, csr = new_csr()
    issued(create(csr, token=None, node=(key, chain)), second, CART)
    expect(create(csr, token=None, node=(key, chain), metadata={"ImpersonatedIdentity": DB}), IMPERSONATION)
    expect(call(RENEW, field(1, csr), node=(key, chain)), UNAUTHENTICATED, "renewal by a workload")


def join(token, csr, name=""):
    return call(JOIN, field(1, token) + field(2, csr) + (field(3, name) if name else b""))


def join_once():
    refused = ("UNAUTHENTICATED", "the join token is not accepted")
    first = facts["join"]["first"]
    key, csr = new_csr()
    for wrong in ("", "fjt_", first[:-1], first[:-1] + ("0" if first[-1] != "0" else "1"), first.upper()):
        expect(join(wrong, csr), refused, wrong[:8])
    expect(join(first, b"hello")[0], "INVALID_ARGUMENT", "bad request")
    expect(join(first, csr, "edge-2")[0], "PERMISSION_DENIED", "another name")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: join(first, csr), range(8)))
    expect([answer for answer in answers if isinstance(answer, tuple)], [refused] * 7, "the others")
    response = next(answer for answer in answers if not isinstance(answer, tuple))
    _, chain = issued(response, key, "spiffe://cluster.local/ns/fairlead-nodes/sa/edge-1")
    expect([response[number] for number in (2, 4, 5, 6)], [[b"edge-1"], [b"cluster.local"], [b"edge"], [b"istio-system"]])
    expect(join(facts["join"]["again"], csr)[0], "ALREADY_EXISTS", "a second host of the name")
    node.update(key=key, chain=chain, at=time.time())


def node_for_its_workloads():
    credentials = (node["key"], node["chain"])
    key, csr = new_csr()
    issued(create(csr, token=None, node=credentials, metadata={"ImpersonatedIdentity": CART}), key, CART)
    for other in (DB, "spiffe://cluster.local/ns/fairlead-nodes/sa/edge-2", "spiffe://cluster.local/ns/istio-system/sa/fairlead-control",
                  "spiffe://other.local/ns/shop/sa/cart", "cart"):
        expect(create(csr, token=None, node=credentials, metadata={"ImpersonatedIdentity": other}), IMPERSONATION, other)
    expect(create(csr, token=None, node=credentials), IMPERSONATION, "itself")


def pin_is_the_presented_root():
    """What a joining node sees: the last certificate of the handshake has the pin of the join line."""
    import ssl, socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, port = facts["target"].split(":")
    with socket.create_connection((host, int(port)), 60) as raw, context.wrap_socket(raw) as secured:
        expect(secured.version(), "TLSv1.3")
        chain = secured._sslobj.get_unverified_chain()
    root = x509.load_pem_x509_certificate(chain[-1].public_bytes().encode() if isinstance(chain[-1].public_bytes(), str) else chain[-1].public_bytes())
    spki = root.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    expect("sha256:" + hashlib.sha256(spki).hexdigest(), facts["pin"])


def renewal_after_expiry():
    time.sleep(max(0, node["at"] + facts["nodeLifetimeMs"] / 1000 + 1.5 - time.time()))
    credentials = (node["key"], node["chain"])
    key, csr = new_csr()
    expect(create(csr, token=None, node=credentials, metadata={"ImpersonatedIdentity": CART}), UNAUTHENTICATED, "expired, for a workload")
    response = call(RENEW, field(1, csr), node=credentials)
    _, chain = issued(response, key, "spiffe://cluster.local/ns/fairlead-nodes/sa/edge-1")
    workload, csr = new_csr()
    issued(create(csr, token=None, node=(key, chain), metadata={"ImpersonatedIdentity": CART}), workload, CART)
    node.update(key=key, chain=chain)


def replaced_host_is_out():
    key, csr = new_csr()
    time.sleep(1.1)
    _, chain = issued(join(facts["join"]["replace"], csr), key, "spiffe://cluster.local/ns/fairlead-nodes/sa/edge-1")
    expect(call(RENEW, field(1, csr), node=(node["key"], node["chain"])), UNAUTHENTICATED, "the host before")
    second, csr = new_csr()
    issued(call(RENEW, field(1, csr), node=(key, chain)), second, "spiffe://cluster.local/ns/fairlead-nodes/sa/edge-1")


def stolen_chain_is_nothing():
    """Somebody else's certificate without its key does not get through the handshake."""
    thief = ec.generate_private_key(ec.SECP256R1())
    _, csr = new_csr()
    try:
        answer = call(RENEW, field(1, csr), node=(thief, node["chain"]))
    except Exception as error:  # grpcio refuses the pair before it dials
        answer = ("UNAVAILABLE", str(error))
    if not isinstance(answer, tuple):
        raise Failure("renewed")


def foreign_root():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil")])
    import datetime

    now = datetime.datetime.now(datetime.timezone.utc)
    leaf = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cluster.local/ns/fairlead-nodes/sa/edge-1")]), True)
            .sign(key, hashes.SHA256()))
    pem = leaf.public_bytes(serialization.Encoding.PEM)
    _, csr = new_csr()
    expect(call(RENEW, field(1, csr), node=(key, pem)), UNAUTHENTICATED)
    expect(create(csr, token=None, node=(key, pem)), UNAUTHENTICATED)


def malformed_messages():
    for body in (b"\xff", field(1, b"\xff\xfe"), b"\x0a\xff\xff\xff\xff\x0f"):
        for method in (CREATE, JOIN, RENEW):
            answer = call(method, body, token=good)
            if not isinstance(answer, tuple) or answer[0] not in ("INTERNAL", "INVALID_ARGUMENT", "UNAUTHENTICATED"):
                raise Failure(f"{method}: {answer}")


checks = [
    ("the profile is istiod's, and python's own validation accepts it", profile),
    ("names and CA extensions of the request are not taken", others_names),
    ("lifetimes are cut to the bounds", lifetimes),
    ("P-384 and RSA 2048 are good enough", key_kinds),
    ("bad requests are INVALID_ARGUMENT", bad_requests),
    ("bad tokens are UNAUTHENTICATED, all with one answer", bad_tokens),
    ("a token is for its own workload alone", impersonation_by_token),
    ("unknown fields and headers are ignored", unknown_things_are_ignored),
    ("an SVID renews itself, and is no node", svid_as_credential),
    ("the presented chain ends with the pinned root", pin_is_the_presented_root),
    ("one join token lets one host in", join_once),
    ("a node asks for the workloads that run on it", node_for_its_workloads),
    ("an expired node renews, and can do nothing else", renewal_after_expiry),
    ("a chain without its key is nothing", stolen_chain_is_nothing),
    ("a chain of a foreign root is nothing", foreign_root),
    ("a host that was replaced is out", replaced_host_is_out),
    ("malformed messages are refused", malformed_messages),
]
for case, run in checks:
    detail = ""
    try:
        run()
    except Exception as error:  # a crash of one rule is that rule's failure
        detail = f"{type(error).__name__}: {error}"
    print(json.dumps({"case": case, "ok": detail == "", "detail": detail}), flush=True)
with open(facts["serials"], "w", encoding="utf-8") as file:
    json.dump(serials, file)
