"""Delta xDS, rule by rule (ztunnel src/xds/client.rs; istiod pilot/pkg/xds/delta.go, auth.go), against a running control plane."""

import json
import ssl
import socket
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from xds_client import (
    ADDRESS, AUTHORIZATION, HANG, TRUST, Failure, MESSAGES, RawStream, Stream, apply, ask, delete, describe, expect, facts, join,
    names, new_request, run, split_messages, ztunnel_node,
)

tokens = facts["tokens"]
UID = "networking.istio.io/WorkloadEntry/shop/"
nodes = {}


def entry(name, ip, node="host-b", app=None, port=None):
    ports = f"\n  ports: {{http: {port}}}" if port else ""
    return f"""apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: {name}
  namespace: shop
  labels: {{app: {app or name}}}
  annotations: {{ambient.istio.io/redirection: enabled, fairlead.dev/node: {node}}}
spec:
  address: {ip}
  serviceAccount: {name}{ports}
"""


def policy(name, app, principal="cluster.local/ns/shop/sa/cart"):
    return f"""apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: {app}}}}}
  rules: [{{from: [{{source: {{principals: ["{principal}"]}}}}]}}]
"""


SERVICE = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop]
  addresses: [240.0.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: db}}
"""
BASE = [entry("cart", "10.0.0.1", "host-a"), entry("db", "10.0.0.2"), entry("db2", "10.0.0.3", app="db"), SERVICE,
        policy("db-only-cart", "db")]
BASE_ADDRESSES = [UID + "cart", UID + "db", UID + "db2", "shop/db.shop"]


def stream(**rest):
    return Stream(token=tokens["db"], **rest)


def opened(**rest):
    made = stream(**rest)
    made.open()
    return made


def answers_when_empty():
    for types in ((ADDRESS, AUTHORIZATION), (AUTHORIZATION, ADDRESS), (ADDRESS,), (AUTHORIZATION,)):
        one = stream()
        answers = one.open(types)
        expect(sorted(answers), sorted(types), "types")
        for response in answers.values():
            expect((names(response), list(response.removed_resources)), ([], []), "resources")
            expect(response.control_plane.identifier.startswith("fairlead/"), True, "identifier")
        nonces = [each.nonce for each in answers.values()]
        expect((len(set(nonces)), "" in nonces), (len(types), False), "nonces")
        one.silent(0.2)
        one.close()


def names_and_content():
    apply(*BASE)
    one = opened()
    expect(sorted(one.held[ADDRESS]), BASE_ADDRESSES, "addresses")
    expect(sorted(one.held[AUTHORIZATION]), ["shop/db-only-cart"], "policies")
    db = one.held[ADDRESS][UID + "db"][1].workload
    expect((db.uid, db.name, db.namespace, db.service_account, db.node, list(db.addresses), db.tunnel_protocol),
           (UID + "db", "db", "shop", "db", "host-b", [bytes([10, 0, 0, 2])], 1), "workload")
    expect(list(db.services), ["shop/db.shop"], "services of the workload")
    expect(list(db.authorization_policies), ["shop/db-only-cart"], "policies of the workload")
    service = one.held[ADDRESS]["shop/db.shop"][1].service
    expect((service.namespace, service.hostname, [vip.address for vip in service.addresses]),
           ("shop", "db.shop", [bytes([240, 0, 0, 1])]), "service")
    rule = one.held[AUTHORIZATION]["shop/db-only-cart"][1]
    expect((rule.scope, rule.action, rule.groups[0].rules[0].matches[0].principals[0].exact),
           (2, 0, "cluster.local/ns/shop/sa/cart"), "policy")
    one.close()


def only_what_changed():
    one = opened()
    before = one.versions(ADDRESS)
    apply(entry("db2", "10.0.0.4", app="db"))
    response = one.get()
    expect(describe(response), f"Address +{[UID + 'db2']} -[]")
    after = one.versions(ADDRESS)
    changed = {name for name in before if before[name] != after[name]}
    expect(changed, {UID + "db2"}, "versions that changed")
    # The same documents again: nothing for anybody.
    apply(entry("db2", "10.0.0.4", app="db"))
    one.silent()
    apply(entry("db2", "10.0.0.3", app="db"))
    one.get()
    expect(one.versions(ADDRESS), before, "versions of the content of before")
    one.close()


def same_for_all():
    first, second = opened(), Stream(token=tokens["cart"], node=ztunnel_node(name="cart", ip="10.0.0.1"))
    second.open()
    expect(first.versions(ADDRESS), second.versions(ADDRESS), "versions")
    apply(entry("late", "10.0.0.9"))
    expect(first.get().resources[0].version, second.get().resources[0].version, "version")
    delete("WorkloadEntry", "shop/late")
    expect([list(each.get().removed_resources) for each in (first, second)], [[UID + "late"]] * 2, "removed")
    first.close()
    second.close()


def reconnect():
    one = opened()
    held = {type_url: one.versions(type_url) for type_url in (ADDRESS, AUTHORIZATION)}
    one.close()
    apply(entry("cart", "10.0.0.11", "host-a"))
    delete("WorkloadEntry", "shop/db2")
    back = stream()
    answers = back.open(initial={
        ADDRESS: {**held[ADDRESS], "shop/ghost.shop": "1"},
        AUTHORIZATION: {**held[AUTHORIZATION], "shop/ghost": ""},
    })
    expect(names(answers[ADDRESS]), [UID + "cart"], "changed")
    expect(sorted(answers[ADDRESS].removed_resources), [UID + "db2", "shop/ghost.shop"], "removed")
    # A policy that is gone is taken back when no workload names it any more: after the addresses.
    removed = [*answers[AUTHORIZATION].removed_resources, *[name for each in collect(back, 0.5) for name in each.removed_resources]]
    expect((names(answers[AUTHORIZATION]), removed), ([], ["shop/ghost"]), "policies")
    back.close()
    apply(*BASE)


def versions_over_a_restart():
    one = opened()
    held = {type_url: one.versions(type_url) for type_url in (ADDRESS, AUTHORIZATION)}
    ask(what="restart")
    expect(one.status() in ("UNAVAILABLE", "UNKNOWN", "CANCELLED"), True, "the stream ended")
    one.close()
    fresh = opened()
    expect({type_url: fresh.versions(type_url) for type_url in held}, held, "versions")
    fresh.close()
    back = stream()
    answers = back.open(initial=held)
    expect([describe(each) for each in answers.values() if each.resources or each.removed_resources], [], "told again")
    back.close()


def refusals():
    key_and_chain = nodes["edge-1"]
    one = Stream(credentials=key_and_chain, node=ztunnel_node(namespace="", name="", NODE_NAME="edge-1"))
    one.open()
    apply(entry("bad", "10.0.0.66"))
    response = one.take(one.next())
    one.nack(response, f"{UID}bad: it is bad")
    one.silent(0.6)
    [told] = json.loads(ask(what="command", words=["get", "nodes", "-o", "json"]))
    address = next(each for each in told["subscriptions"] if each["typeUrl"] == ADDRESS)
    expect([each["message"] for each in address["nacks"]], [f"{UID}bad: it is bad"], "kept")
    expect(address["sent"] == address["acknowledged"], False, "taken for acknowledged")
    # Others are not held up, nor is the next change; what was refused does not come with it.
    apply(entry("good", "10.0.0.67"))
    expect(describe(one.get()), f"Address +{[UID + 'good']} -[]")
    delete("WorkloadEntry", "shop/bad", "shop/good")
    expect(sorted(one.get().removed_resources), [UID + "bad", UID + "good"], "removed")
    one.close()


def stale_answers():
    one = opened()
    apply(entry("s1", "10.0.1.1"))
    first = one.take(one.next())
    apply(entry("s2", "10.0.1.2"))
    apply(entry("s3", "10.0.1.3"))
    for nonce in ("", "0", "ffff", first.nonce + "0"):
        one.ask(ADDRESS, nonce=nonce)
    one.ask(ADDRESS, nonce="other", error="stale: it is")
    one.silent()
    one.ack(first)
    expect(describe(one.get()), f"Address +{[UID + 's2', UID + 's3']} -[]", "what came meanwhile, as one response")
    # The answer to one that was answered already.
    one.ack(first)
    one.silent(0.3)
    delete("WorkloadEntry", "shop/s1", "shop/s2", "shop/s3")
    one.get()
    one.close()


def collect(one, seconds):
    responses, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            responses.append(one.get(0.3))
        except Failure as failure:
            if not str(failure).startswith("no response"):
                raise
    return responses


def policies_before_workloads():
    one = opened()
    apply(entry("p", "10.0.2.1"), policy("for-p", "p"))
    responses = [describe(each) for each in collect(one, 1)]
    expect(responses, ["Authorization +['shop/for-p'] -[]", f"Address +{[UID + 'p']} -[]"], "a new pair")
    # Also when a policy cannot be sent yet, since the one before is unanswered.
    apply(policy("for-p", "p", "cluster.local/ns/shop/sa/db"))
    held_back = one.take(one.next())
    expect(describe(held_back), "Authorization +['shop/for-p'] -[]")
    apply(policy("more-for-p", "p"))
    one.silent()
    one.ack(held_back)
    responses = [describe(each) for each in collect(one, 1)]
    expect(responses, ["Authorization +['shop/more-for-p'] -[]", f"Address +{[UID + 'p']} -[]"], "behind an unanswered one")
    # The other way round: the workload lets go of the name first.
    delete("AuthorizationPolicy", "shop/for-p", "shop/more-for-p")
    responses = [describe(each) for each in collect(one, 1)]
    expect(responses, [f"Address +{[UID + 'p']} -[]", "Authorization +[] -['shop/for-p', 'shop/more-for-p']"], "removed")
    delete("WorkloadEntry", "shop/p")
    one.get()
    one.close()


def on_demand():
    one = stream(node=ztunnel_node(name="cart", ip="10.0.0.1", NODE_NAME="host-a"))
    one.ask(ADDRESS, subscribe=["*"], unsubscribe=["*"])
    one.ask(AUTHORIZATION)
    answers = {each.type_url: each for each in (one.get(), one.get())}
    expect(names(answers[ADDRESS]), [UID + "cart"], "unasked: its own node's workloads")
    expect(names(answers[AUTHORIZATION]), ["shop/db-only-cart"], "policies")

    def look_up(name):
        one.ask(ADDRESS, subscribe=[name])
        response = one.get()
        return names(response), sorted(response.removed_resources)

    # ztunnel waits for the very name it asked for, and takes it from removed_resources (notify_on_demand of src/xds/client.rs).
    expect(look_up("/10.0.0.2"), ([UID + "db"], ["/10.0.0.2"]), "by address")
    expect(look_up("/240.0.0.1"), (sorted([UID + "db", UID + "db2", "shop/db.shop"]), ["/240.0.0.1"]), "by VIP")
    expect(look_up("shop/db.shop")[1], [], "a service by its name")
    expect(look_up(UID + "db2"), ([UID + "db2"], []), "by uid")
    expect(look_up("/10.9.9.9"), ([], ["/10.9.9.9"]), "an address without a workload")
    expect(look_up("shop/nothing.shop"), ([], ["shop/nothing.shop"]), "a name without a service")
    apply(entry("unasked", "10.0.3.1", "host-c"))
    one.silent()
    apply(entry("late", "10.9.9.9", "host-c"))
    expect(names(one.get()), [UID + "late"], "what was asked for before it was there")
    one.ask(ADDRESS, unsubscribe=["/10.9.9.9"])
    one.silent(0.2)
    # What it stood for is let go of before it could be out of date.
    apply(entry("late", "10.9.9.9", "host-d"))
    expect(describe(one.get()), f"Address +[] -{[UID + 'late']}", "what is not asked for any more")
    delete("WorkloadEntry", "shop/late", "shop/unasked")
    one.close()


def who_may_say_what():
    db = tokens["db"]
    cases = [
        (db, None, "INVALID_ARGUMENT"),
        (db, {"id": ""}, "INVALID_ARGUMENT"),
        (db, {"id": "ztunnel~10.0.0.2~db.shop"}, "INVALID_ARGUMENT"),
        (db, {"id": "toaster~10.0.0.2~db.shop~shop.svc.cluster.local"}, "INVALID_ARGUMENT"),
        (db, {"id": "ztunnel~nowhere~db.shop~shop.svc.cluster.local"}, "INVALID_ARGUMENT"),
        (db, {"id": "ztunnel~10.0.0.2~" + "x" * 2000 + "~shop.svc.cluster.local"}, "INVALID_ARGUMENT"),
        (db, ztunnel_node(namespace="other"), "PERMISSION_DENIED"),
        (db, {"id": "ztunnel~10.0.0.2~db.other~other.svc.cluster.local"}, "PERMISSION_DENIED"),
        (db, ztunnel_node(SERVICE_ACCOUNT="cart"), "PERMISSION_DENIED"),
        (db, ztunnel_node(SERVICE_ACCOUNT="db"), None),
        (db, {"id": "ztunnel~1.1.1.1~.~.svc.cluster.local"}, None),
    ]
    for token, node, wanted in cases:
        one = Stream(token=token, node=node or {})
        if node is None:
            one.node = None
        one.ask(ADDRESS)
        if wanted is None:
            one.next()
        else:
            expect(one.status(), wanted, f"{node}:")
        one.close()
    for name, wanted in (("edge-1", None), ("edge-2", "PERMISSION_DENIED")):
        one = Stream(credentials=nodes["edge-1"], node=ztunnel_node(namespace="", name="", NODE_NAME=name))
        one.ask(ADDRESS)
        if wanted is None:
            one.next()
        else:
            expect(one.status(), wanted, name)
        one.close()


def unknown_types():
    one = opened()
    for type_url in ("type.googleapis.com/envoy.config.cluster.v3.Cluster", "networking.istio.io/v1/VirtualService", "x"):
        one.ask(type_url)
        response = one.get()
        expect((response.type_url, names(response), list(response.removed_resources)), (type_url, [], []))
    apply(entry("u", "10.0.4.1"))
    expect(names(one.get()), [UID + "u"], "the types that are known go on")
    delete("WorkloadEntry", "shop/u")
    one.get()
    one.close()
    nameless = stream()
    nameless.ask("")
    expect(nameless.status(), "INVALID_ARGUMENT", "no type")
    nameless.close()


def strangers():
    good = {"node": ztunnel_node()}
    one = Stream(**good)
    one.ask(ADDRESS)
    expect(one.status(), "UNAUTHENTICATED", "no credentials")
    for name in ("expired", "audience", "issuer"):
        one = Stream(token=tokens[name], **good)
        one.ask(ADDRESS)
        expect((one.status(), one.error.details()), ("UNAUTHENTICATED", "request authenticate failure"), name)
    key = ec.generate_private_key(ec.SECP256R1())
    import datetime

    now, name = datetime.datetime.now(datetime.timezone.utc), x509.Name([])
    leaf = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/db")]), True)
            .sign(key, hashes.SHA256()))
    one = Stream(credentials=(key, leaf.public_bytes(serialization.Encoding.PEM)), **good)
    one.ask(ADDRESS)
    expect(one.status(), "UNAUTHENTICATED", "a foreign root")
    expect(one.error.details(), "request authenticate failure", "details")


def old_tls():
    host, port = facts["target"].split(":")

    def version(**settings):
        context = ssl.create_default_context(cadata=facts["roots"])
        for name, value in settings.items():
            setattr(context, name, value)
        context.set_alpn_protocols(["h2"])
        with socket.create_connection((host, int(port)), 5) as raw, context.wrap_socket(raw, server_hostname=host) as secured:
            return secured.version()

    expect(version(), "TLSv1.3")
    try:
        found = version(maximum_version=ssl.TLSVersion.TLSv1_2)
    except (ssl.SSLError, ConnectionError):
        return
    raise Failure(f"spoke {found}")


def floods():
    bystander = opened()

    def ended(wanted, details, act):
        one = opened()
        act(one)
        expect((one.status(10), one.error and one.error.details()), (wanted, details), "end")
        one.close()

    ended("INVALID_ARGUMENT", "too many names on one stream", lambda one: one.ask(ADDRESS, subscribe=[f"/10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(10_001)]))
    ended("INVALID_ARGUMENT", "a name is too long", lambda one: one.ask(ADDRESS, subscribe=["x" * 1025]))
    ended("INVALID_ARGUMENT", "too many types on one stream", lambda one: [one.ask(f"type/{n}") for n in range(100)])
    ended("RESOURCE_EXHAUSTED", "too many requests on one stream", lambda one: [one.ask(ADDRESS, nonce="old") for _ in range(2000)])
    large = 17 * 1024 * 1024
    ended("RESOURCE_EXHAUSTED", f"a message of {large} bytes; at most {16 * 1024 * 1024} are taken", lambda one: one.raw(b"\0" * large))
    ended("INTERNAL", "a request that cannot be decoded", lambda one: one.raw(b"\xff\xff\xff"))
    apply(entry("f", "10.0.5.1"))
    expect(names(bystander.get()), [UID + "f"], "others")
    delete("WorkloadEntry", "shop/f")
    bystander.get()
    bystander.close()


def half_a_message():
    raw = RawStream(tokens["db"])
    body = new_request(ADDRESS, True, ztunnel_node()).SerializeToString()
    framed = b"\0" + len(body).to_bytes(4, "big") + body
    raw.data(framed[: len(framed) // 2])
    got, alive = raw.read(0.5)
    expect((got, alive), (b"", True), "an answer to half a message")
    opened().close()
    raw.data(framed[len(framed) // 2 :])
    [response] = raw.messages(1)
    expect(response.type_url, ADDRESS, "the whole one")
    raw.close()
    cut = RawStream(tokens["db"])
    cut.data(framed[: len(framed) // 2])
    cut.close()
    opened().close()


def streams_one_after_another():
    before = ask(what="memory")
    for _ in range(150):
        one = stream()
        one.open()
        one.close()
    expect_grown(before, 64)
    many = [opened() for _ in range(11)]
    for each in many[:3]:
        each.status()
    expect([each.status(0) for each in many], ["ABORTED"] * 3 + [None] * 8, "of one client, the newest live")
    for each in many:
        each.close()


def slow_reader():
    """Nothing of what it does not read is kept for it alone, and when it reads again it gets the present, not the history."""
    count = 2000
    apply(*[entry(f"n{n}", f"10.1.{n >> 8}.{n & 255}", "far") for n in range(count)])
    before = ask(what="memory")
    watcher = opened()
    # With those that read, eight of one client: no more may live.
    readers = [RawStream(tokens["db"]) for _ in range(6)]
    for each in readers:
        each.message(new_request(ADDRESS, True, ztunnel_node()).SerializeToString())
        each.message(new_request(AUTHORIZATION, False, None).SerializeToString())
    # All of them are being answered before anything changes.
    for each in readers:
        each.peek()
    for last in range(5):
        apply(entry("n0", f"10.2.0.{last}", "far"))
        # That round of pushes is over.
        while address_of(watcher.get()) != bytes([10, 2, 0, last]):
            pass
    expect_grown(before, 48)
    reader = readers[-1]
    first, other = reader.messages(2)
    responses = {each.type_url: each for each in (first, other)}
    expect(sorted(responses), sorted([ADDRESS, AUTHORIZATION]), "types")
    first = responses[ADDRESS]
    everything = opened()
    expect(len(first.resources), len(everything.held[ADDRESS]), "resources")
    everything.close()
    watcher.close()
    reader.message(new_request(ADDRESS, False, None, nonce=first.nonce).SerializeToString())
    [second] = reader.messages(1)
    expect(names(second), [UID + "n0"], "what changed")
    expect(address_of(second), bytes([10, 2, 0, 4]), "its address")
    reader.message(new_request(ADDRESS, False, None, nonce=second.nonce).SerializeToString())
    more, _ = reader.read(0.5)
    expect(len(list(split_messages(more))), 0, "messages of what was before")
    for each in readers:
        each.close()


def expect_grown(before, mebibytes):
    """By so much at the most, once the collector has been there: what is free goes back when it pleases, not at a set time."""
    deadline = time.monotonic() + HANG
    while (grown := ask(what="memory") - before) > mebibytes << 20:
        if time.monotonic() > deadline:
            raise Failure(f"grew by {grown >> 20} MiB")
        time.sleep(0.2)


def address_of(response):
    """Of the one workload that a response is of."""
    found = [each for each in response.resources if each.name == UID + "n0"]
    return MESSAGES[ADDRESS].FromString(found[0].resource.value).workload.addresses[0] if found else None


def roots():
    one = Stream(credentials=nodes["edge-1"], node=ztunnel_node(namespace="", name="", NODE_NAME="edge-1"))
    one.open((TRUST,))
    expect(sorted(one.held[TRUST]), ["trust"], "resources")
    version, bundle = one.held[TRUST]["trust"]
    expect(bundle.roots_pem.strip(), facts["roots"].strip(), "roots")
    lists = len(bundle.crls)
    join("edge-7")
    ask(what="command", words=["revoke", "--node", "edge-7"])
    one.get()
    expect(one.held[TRUST]["trust"][0] == version, False, "the version is the one of before")
    crls = [x509.load_der_x509_crl(each) for each in one.held[TRUST]["trust"][1].crls]
    if len(crls) < max(lists, 1) or sum(len(list(each)) for each in crls) == 0:
        raise Failure(f"{len(crls)} lists, no certificate on them")
    one.close()


def revoked():
    key_and_chain = join("edge-9")
    node = ztunnel_node(namespace="", name="", NODE_NAME="edge-9")
    one, other = Stream(credentials=key_and_chain, node=node), opened()
    one.open()
    ask(what="command", words=["revoke", "--node", "edge-9", "--reason", "stolen"])
    # Neither a renewal nor a push comes in that time: nothing but the revocation ends it.
    expect(one.status(), "UNAUTHENTICATED", "its stream")
    again = Stream(credentials=key_and_chain, node=node)
    again.ask(ADDRESS)
    expect(again.status(), "UNAUTHENTICATED", "another stream")
    expect(other.status(0), None, "somebody else's")
    for each in (one, other, again):
        each.close()


nodes["edge-1"] = join("edge-1")
run([
    ("both types are answered at once, also when empty", answers_when_empty),
    ("names and content are istiod's", names_and_content),
    ("only what changed is sent, under versions that the content decides", only_what_changed),
    ("every subscriber gets the same versions", same_for_all),
    ("a reconnect brings changes and removals alone", reconnect),
    ("versions outlive kill -9", versions_over_a_restart),
    ("a refusal is kept, shown, and not sent again", refusals),
    ("stale nonces are ignored, and changes behind an unanswered response become one", stale_answers),
    ("policies come before workloads that name them, and go after", policies_before_workloads),
    ("on demand: by address, VIP, name and uid, never without an answer", on_demand),
    ("who one says to be has to be who one is", who_may_say_what),
    ("a type that is unknown is answered and stays empty", unknown_types),
    ("strangers are refused, all with one answer", strangers),
    ("TLS below 1.3 is refused", old_tls),
    ("floods end their own stream alone", floods),
    ("half a message hurts no other caller", half_a_message),
    ("streams without end leave nothing behind", streams_one_after_another),
    ("who does not read costs little, and gets the present", slow_reader),
    ("a node of ours is given roots and revocations", roots),
    ("a revoked node's stream ends with the command", revoked),
])
