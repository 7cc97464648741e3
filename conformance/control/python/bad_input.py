"""What strangers and members send to port 15012 that they should not, by grpcio, h2 and raw sockets from another address."""

import base64
import hashlib
import hmac
import json
import socket
import ssl
import sys
import time

import grpc
import h2.config
import h2.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

with open(sys.argv[1], encoding="utf-8") as file:
    facts = json.load(file)
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
JOIN = "/fairlead.v1.JoinService/Join"
UNAUTHENTICATED = ("UNAUTHENTICATED", "request authenticate failure")
host, port = facts["target"].rsplit(":", 1)


class Failure(Exception):
    """A rule does not hold."""


def expect(value, wanted, what="got"):
    if value != wanted:
        raise Failure(f"{what} {value!r}, wanted {wanted!r}")


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def call(method, request, token=None, timeout=60):
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    credentials = grpc.ssl_channel_credentials(facts["roots"].encode())
    with grpc.secure_channel(facts["target"], credentials) as channel:
        try:
            return channel.unary_unary(method)(request, metadata=metadata, timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()


def request(key, name=None, ca=False, uri="spiffe://cluster.local/ns/shop/sa/cart", dns=None):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    names = [x509.UniformResourceIdentifier(uri)] + ([x509.DNSName(dns)] if dns else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), True)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def good_request():
    return request(ec.generate_private_key(ec.SECP256R1()))


def create(csr, token):
    return call(CREATE, field(1, csr), token)


def encode(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def serves():
    answer = create(good_request(), facts["tokens"]["good"])
    if not isinstance(answer, bytes):
        raise Failure(f"a good request is refused: {answer}")


def tokens():
    good = facts["tokens"]["good"]
    header, claims, signature = good.split(".")
    public = facts["publicKey"]
    cases = {name: token for name, token in facts["tokens"].items() if name != "good"}
    cases |= {
        "truncated": good[:-20],
        "without a signature": f"{header}.{claims}.",
        "alg none": f"{encode({'alg': 'none', 'kid': 'one'})}.{claims}.",
        "a megabyte": "a" * 5_000 + good,
    }
    for secret in (public["pem"], public["pem"].strip(), public["jwk"], base64.b64decode(public["der"])):
        secret = secret.encode() if isinstance(secret, str) else secret
        signed = f"{encode({'alg': 'HS256', 'kid': 'one'})}.{claims}"
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        cases[f"HMAC with the public key, {len(secret)} bytes"] = f"{signed}.{encode(mac)}"
    for name, token in cases.items():
        expect(create(good_request(), token), UNAUTHENTICATED, name)
    serves()


def join_tokens():
    first = facts["joins"][0]
    used = field(1, first) + field(2, good_request()) + field(3, "edge-1")
    answer = call(JOIN, used)
    if not isinstance(answer, bytes):
        raise Failure(f"the first join is refused: {answer}")
    refused = ("UNAUTHENTICATED", "the join token is not accepted")
    other = facts["joins"][1]
    name, secret = other.rsplit("_", 1)
    cases = {
        "used": first,
        "truncated": other[:-1],
        "another secret": f"{name}_{'0' * len(secret)}",
        "an unknown id": f"fjt_{'0' * 16}_{secret}",
        "another's secret": f"{first.rsplit('_', 1)[0]}_{secret}",
        "empty": "",
        "upper case": other.upper(),
        "SQL": "fjt_' OR 1=1 --_" + secret,
    }
    for case, token in cases.items():
        expect(call(JOIN, field(1, token) + field(2, good_request())), refused, case)
    # Two hosts with one name: a good token of the same node, without leave to replace.
    again = call(JOIN, field(1, other) + field(2, good_request()))
    expect(again[0] if isinstance(again, tuple) else "answered", "ALREADY_EXISTS", "a second host of one name")


def requests():
    token = facts["tokens"]["good"]
    pem = good_request()
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER))
    der[-3] ^= 1

    def armour(content):
        lines = base64.encodebytes(bytes(content)).decode()
        return f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"

    cases = {
        "bad signature": armour(der),
        "RSA 1024": request(rsa.generate_private_key(65537, 1024)),
        "P-521": request(ec.generate_private_key(ec.SECP521R1())),
        "secp256k1": request(ec.generate_private_key(ec.SECP256K1())),
        "Ed25519": request(ed25519.Ed25519PrivateKey.generate()),
        "a megabyte": armour(bytes(750_000)),
    }
    for name, csr in cases.items():
        answer = create(csr, token)
        expect(answer[0] if isinstance(answer, tuple) else "answered", "INVALID_ARGUMENT", name)
    answer = create("A" * (5 << 20), token)
    expect(answer[0] if isinstance(answer, tuple) else "answered", "RESOURCE_EXHAUSTED", "five megabytes")
    greedy = request(
        ec.generate_private_key(ec.SECP256R1()), "root", True, "spiffe://cluster.local/ns/shop/sa/db", "localhost"
    )
    answer = create(greedy, token)
    if not isinstance(answer, bytes):
        raise Failure(f"other people's names: {answer}")
    leaf = x509.load_pem_x509_certificates(answer[answer.index(b"-----BEGIN") :].split(b"-----END")[0] + b"-----END CERTIFICATE-----\n")[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    expect([name.value for name in names], ["spiffe://cluster.local/ns/shop/sa/cart"], "names")
    expect(leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, False, "CA")
    expect(leaf.subject.rfc4514_string(), "", "subject")


def neighbour():
    """A connection from another loopback address: to the server somebody else."""
    return socket.create_connection((host, int(port)), 10, source_address=("127.0.0.2", 0))


def silent_neighbours():
    """Others are served while silent ones are there, and do not wait until those are given up."""
    for _ in range(5):
        held = []
        try:
            for _ in range(400):
                try:
                    held.append(neighbour())
                except ConnectionResetError:
                    pass  # one too many of this address
            time.sleep(0.2)
            serves()
            if any(is_open(one) for one in held):
                return
        finally:
            for one in held:
                one.close()
    raise Failure("others wait for the silent ones")


def is_open(connection):
    """Nothing has come: neither a byte nor an end."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def unfinished_requests():
    """One address sends as much of requests that never end as it may, and another's request in many pieces is taken."""
    context = ssl.create_default_context(cadata=facts["roots"])
    context.set_alpn_protocols(["h2"])
    held = []
    try:
        for _ in range(12):
            wrapped = context.wrap_socket(neighbour(), server_hostname=host)
            wrapped.settimeout(0.2)
            held.append(wrapped)
            flood(wrapped)
        csr = "-----BEGIN CERTIFICATE REQUEST-----\n" + "A" * 3_000_000
        answer = create(csr, facts["tokens"]["good"])
        expect(answer[0] if isinstance(answer, tuple) else "answered", "INVALID_ARGUMENT", "a large request of another address")
        serves()
    finally:
        for one in held:
            one.close()


def flood(wrapped):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", facts["target"]),
        (":path", CREATE),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    left = {}
    for stream in (1, 3, 5, 7):
        connection.send_headers(stream, fields)
        # A head that promises four megabytes, which then do not come to their end.
        left[stream] = b"\0" + (4 << 20).to_bytes(4, "big") + bytes((4 << 20) - 10)
    deadline = time.monotonic() + 2
    while left and time.monotonic() < deadline:
        for stream in list(left):
            try:
                room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
                if room > 0:
                    connection.send_data(stream, left[stream][:room])
                    left[stream] = left[stream][room:]
            except h2.exceptions.ProtocolError:
                del left[stream]
                continue
            if not left[stream]:
                del left[stream]
        try:
            wrapped.sendall(connection.data_to_send())
            wrapped.settimeout(0.02)
            connection.receive_data(wrapped.recv(1 << 16))
        except (TimeoutError, ssl.SSLWantReadError):
            continue
        except OSError:
            return


def garbage():
    for said in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000), bytes(range(256)) * 64):
        with neighbour() as connection:
            try:
                connection.sendall(said)
            except OSError:
                pass
    serves()


checks = [
    ("tokens that do not hold have one answer", tokens),
    ("join tokens that are not good have one answer, and a name has one host", join_tokens),
    ("certificate requests that are bad, foreign, greedy or huge", requests),
    ("bytes that are no TLS", garbage),
    ("four hundred silent connections of one address keep no other caller out", silent_neighbours),
    ("requests of one address that never end keep no other address's out", unfinished_requests),
]
for case, run in checks:
    detail = ""
    try:
        run()
    except Exception as error:  # a crash of one rule is that rule's failure
        detail = f"{type(error).__name__}: {error}"
    print(json.dumps({"case": case, "ok": detail == "", "detail": detail}), flush=True)
