/** An endpoint that resets its connection at each possible moment: no client takes a cut answer for a whole one, and nothing unsafe is done twice. */
import { describe, expect, test } from "bun:test";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { bytes, ok, type WaypointLab, waypointLab, webService } from "./waypoint_lab.ts";

const answer = ok("hello");
const content = "0123456789";

/** What the application has seen, by the path. The path says after how many bytes of the answer it resets. */
async function resettingLab() {
  const seen = new Map<string, number>();
  const made = await waypointLab(webService("HTTP"), (peer: Recorder) => {
    let unread = "";
    const record = peer.onData.bind(peer);
    peer.onData = (piece) => {
      record(piece);
      unread += String.fromCharCode(...piece);
      const [, path] = /^[A-Z]+ (\S+) HTTP/.exec(unread) ?? [];
      const isWhole = /^GET[\s\S]*\r\n\r\n$/.test(unread) || unread.endsWith(`\r\n\r\n${content}`);
      if (path === undefined || !isWhole) return;
      unread = "";
      seen.set(path, (seen.get(path) ?? 0) + 1);
      const at = Number(path.split("/")[2]);
      if (at > 0) peer.socket.write(bytes(answer.slice(0, at)));
      // What was written arrives; then the connection breaks.
      if (at < answer.length) peer.socket.resetAfterSent();
    };
  });
  return { ...made, seen };
}

async function asked({ lab, call }: WaypointLab, method: "GET" | "POST", at: number): Promise<Recorder> {
  const client = await call();
  const framing = method === "POST" ? `Content-Length: ${content.length}\r\n` : "";
  const head = `${method} /${method}/${at} HTTP/1.1\r\nHost: web.shop\r\nConnection: close\r\n${framing}\r\n`;
  client.socket.write(bytes(`${head}${method === "POST" ? content : ""}`));
  await lab.until(() => client.closes === 1 || client.ends === 1, `an end for ${method} ${at}`, 30_000);
  return client;
}

describe("an endpoint that resets", () => {
  for (const method of ["GET", "POST"] as const)
    test(`at each byte of its answer to ${method}`, async () => {
      const made = await resettingLab();
      for (let at = 0; at < answer.length; at++) {
        const client = await asked(made, method, at);
        const isWhole =
          client.text.includes(" 200 OK") && client.text.endsWith("hello") && client.error === null;
        expect([at, isWhole]).toEqual([at, false]);
        // Once the head is through there is nothing left to say but that it broke.
        if (!client.text.includes(" 200 OK")) expect(client.text).toMatch(/^HTTP\/1\.1 50[23] /);
        else expect(client.error?.code).toBe("connection_reset");
        const times = made.seen.get(`/${method}/${at}`) ?? 0;
        expect(times).toBeGreaterThan(0);
        expect(times).toBeLessThanOrEqual(method === "GET" ? 3 : 1);
      }
      expect((await asked(made, method, answer.length)).text).toEndWith("hello");
      expect(made.seen.get(`/${method}/${answer.length}`)).toBe(1);
    });

  test("at each byte of a request's content: it is told, and the request is not begun again", async () => {
    const heads = new Map<string, number>();
    const made = await waypointLab(webService("HTTP"), (peer: Recorder) => {
      let unread = "";
      peer.onData = (piece) => {
        unread += String.fromCharCode(...piece);
        const [head, path = ""] = /^POST \/(\d+) HTTP[\s\S]*?\r\n\r\n/.exec(unread) ?? [];
        if (head === undefined || unread.length < head.length + Number(path)) return;
        heads.set(path, (heads.get(path) ?? 0) + 1);
        unread = "";
        peer.socket.reset();
      };
    });
    for (let after = 0; after <= content.length; after++) {
      const client = await made.call();
      const head = `POST /${after} HTTP/1.1\r\nHost: web.shop\r\nContent-Length: ${content.length}\r\n\r\n`;
      client.socket.write(bytes(`${head}${content.slice(0, after)}`));
      await made.lab.until(
        () => client.text.includes("\r\n\r\n") || client.closes === 1,
        `an end after ${after}`,
      );
      expect(client.text).toMatch(/^HTTP\/1\.1 503 /);
      expect([after, heads.get(`${after}`)]).toEqual([after, 1]);
    }
  });
});
