/** The second half of the demo: what a waypoint adds. The end user beside the peer, traffic among versions, limits, and streams that end with their token. */

import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { comesTrue } from "../peer/lab/eventually.ts";
import { onlyFrom } from "./documents.ts";
import { credential, entryPort, type Member, type Places } from "./places.ts";
import type { Story } from "./story.ts";
import { type Answer, call, OpenStream } from "./visitor.ts";
import { behindWaypoint, fewPerUser, issuer, shares, users, versions } from "./waypoint_documents.ts";

export interface WaypointWorld {
  readonly story: Story;
  readonly places: Places;
  publish(name: string, text: string): Promise<void>;
  /** Starts the waypoint and two more backends; whether all became ready. */
  start(): Promise<boolean>;
  /** The access lines of the waypoint so far. */
  lines(): readonly string[];
}

export async function tellOfWaypoint(world: WaypointWorld): Promise<void> {
  const { story, places, publish } = world;
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const key = { ...(await exportJWK(publicKey)), kid: "demo", alg: "ES256", use: "sig" };
  const token = (subject: string, seconds: number, signer: CryptoKey = privateKey) =>
    new SignJWT({})
      .setProtectedHeader({ alg: "ES256", kid: "demo" })
      .setIssuer(issuer)
      .setSubject(subject)
      .setIssuedAt()
      .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
      .sign(signer);
  const as = (member: Member, user: string): Promise<Answer> => call(member.ip, entryPort, credential, user);
  const jwks = JSON.stringify({ keys: [key] });

  story.chapter("6  A waypoint in front of the backend");
  story.tell(
    "Requests now pass a waypoint, which reads HTTP. The backend's node lets in the waypoint alone.",
  );
  await publish("mesh.yaml", behindWaypoint(places));
  await publish("callers.yaml", onlyFrom("waypoint"));
  await publish("versions.yaml", versions());
  await publish("shares.yaml", shares({ v1: 100 }));
  if (
    !story.check(
      await world.start(),
      "the waypoint and two more versions are up",
      "a node did not become ready",
    )
  )
    return;
  const ann = await token("ann", 600);
  const reached = await comesTrue(async () => (await as(places.frontend, "")).status === 200);
  story.check(
    reached,
    "the frontend reaches the backend through it",
    describe(await as(places.frontend, "")),
  );

  story.chapter("7  The end user beside the peer");
  story.show(users("{the keys of the users' issuer}"));
  await publish("users.yaml", users(jwks));
  const refused = await comesTrue(async () => (await as(places.frontend, "")).status === 403);
  story.check(
    refused,
    "the frontend without a user's token is refused",
    describe(await as(places.frontend, "")),
  );
  const forged = await token("ann", 600, (await generateKeyPair("ES256")).privateKey);
  const bad = await as(places.frontend, forged);
  story.check(bad.status === 401, "with a token that another key signed: refused", describe(bad));
  const good = await as(places.frontend, ann);
  story.check(good.status === 200, "with ann's token it is let in", describe(good));
  const insider = await as(places.reports, ann);
  story.check(
    insider.status === 403,
    "reports, with ann's token copied, stays out: the peer is wrong",
    describe(insider),
  );
  await told(world, "the refusal names the peer, the user and the policy's line", [
    "sa/reports",
    "user.subject=",
    "ann",
    "users.yaml:",
  ]);

  story.chapter("8  A canary, a retry, a circuit");
  const count = async (calls: number) => {
    const answers = await Promise.all(Array.from({ length: calls }, () => as(places.frontend, ann)));
    const of = (version: string) => answers.filter(({ body }) => body.includes(version)).length;
    return {
      v1: answers.length - of("v2") - of("v3"),
      v2: of("v2"),
      ok: answers.filter(({ status }) => status === 200).length,
    };
  };
  await publish("shares.yaml", shares({ v1: 50, v2: 50 }));
  const both = await comesTrue(async () => (await count(10)).v2 > 0);
  const shared = await count(40);
  story.check(
    both && shared.v1 > 5 && shared.v2 > 5 && shared.ok === 40,
    `half of the requests go to v2: ${shared.v1} to v1, ${shared.v2} to v2`,
    JSON.stringify(shared),
  );
  await publish("shares.yaml", shares({ v1: 0, v2: 100 }));
  const moved = await comesTrue(async () => (await count(10)).v1 === 0);
  story.check(moved, "then all of them", JSON.stringify(await count(10)));
  story.tell(
    "v3 is broken: it answers 503. Requests now go to any version, and a failure is tried again elsewhere.",
  );
  await publish("shares.yaml", shares({ all: 100 }, "{attempts: 2, retryOn: 5xx}"));
  await comesTrue(async () => (await count(6)).v1 > 0);
  const retried = await count(30);
  story.check(retried.ok === 30, "30 requests, none of them failed", JSON.stringify(retried));
  await told(world, "the record of one says that it took two attempts", ["attempts=2", "status=200"]);
  await publish(
    "versions.yaml",
    versions("{consecutive5xxErrors: 1, interval: 10s, baseEjectionTime: 10m, maxEjectionPercent: 50}"),
  );
  const opened = await comesTrue(async () => {
    await count(10);
    return world.lines().some((line) => line.includes("an endpoint is left out"));
  });
  // Lines are written in batches, and in order: those of before are there once that of a later request is.
  const retries = async (subject: string): Promise<number> => {
    await as(places.frontend, await token(subject, 600));
    await comesTrue(() => world.lines().some((line) => line.includes(subject)));
    return world.lines().filter((line) => line.includes("attempts=2")).length;
  };
  const before = await retries("erin");
  const calm = await count(20);
  const after = await retries("frank");
  story.check(
    opened && calm.ok === 20 && after === before,
    "with outlier detection the circuit opens: v3 gets no more requests",
    `${after - before} more retries, ${JSON.stringify(calm)}`,
  );

  story.chapter("9  Three requests a minute for each user");
  await publish("limit.yaml", fewPerUser);
  const bob = await token("bob", 600);
  const limited = await comesTrue(async () => (await as(places.frontend, bob)).status === 429);
  story.check(limited, "bob has had his: 429", describe(await as(places.frontend, bob)));
  const carol = await as(places.frontend, await token("carol", 600));
  story.check(carol.status === 200, "carol has not", describe(carol));
  await told(world, "the record names the limit and its line", [
    'flags="RL"',
    "RateLimit shop/few",
    "limit.yaml:",
  ]);

  story.chapter("10  A stream ends when its user's token does");
  const open = async (seconds: number) => {
    const endsAt = performance.now() + seconds * 1000;
    const user = await token("dave", seconds);
    const stream = new OpenStream(places.frontend.ip, entryPort, credential, user);
    const flows = await comesTrue(() => stream.ticks >= 3 || stream.endedAtMs !== null);
    return { stream, endsAt, flows: flows && stream.ticks >= 3 };
  };
  // On a machine that is very busy a short token may be over before it is shown.
  let dave = await open(4);
  if (!dave.flows) dave = await open(30);
  const { stream, endsAt, flows } = dave;
  story.check(flows, "dave's stream flows", `${stream.ticks} ticks`);
  await comesTrue(() => stream.endedAtMs !== null);
  const lateMs = Math.round((stream.endedAtMs ?? Number.POSITIVE_INFINITY) - endsAt);
  // Tokens count whole seconds: the last one may have begun just before.
  story.check(
    stream.endedAtMs !== null && lateMs > -1_500,
    `and ends ${lateMs} ms after the token`,
    stream.endedAtMs === null ? "it still flows" : `it ended ${-lateMs} ms before`,
  );
  await told(world, "its record says why", ["/ticks", "the end user's token has expired", "dave"]);
}

async function told({ story, lines }: WaypointWorld, claim: string, words: readonly string[]): Promise<void> {
  const find = () => lines().find((line) => words.every((word) => line.includes(word)));
  await comesTrue(() => find() !== undefined);
  const line = find();
  if (story.check(line !== undefined, claim, `no line has ${words.join(", ")}`) && line !== undefined)
    story.show(essence(line));
}

function essence(line: string): string {
  const fields = line.matchAll(
    /(?<!\S)(method|status|flags|detail|attempts|src\.identity|user\.subject|dst\.workload|error)=("(?:\\.|[^"\\])*"|\S+)/g,
  );
  return [...fields].map(([, name, value]) => `${name}=${value?.replace(/\/\S*\/mesh\//g, "")}`).join("\n");
}

function describe({ status, body, ending }: Answer): string {
  return status === null ? `no answer (${ending})` : `${status} ${body.split("\r\n\r\n")[1] ?? ""}`.trim();
}
