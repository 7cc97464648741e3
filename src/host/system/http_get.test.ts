import { expect, test } from "bun:test";
import { parseSocketAddress, type SocketAddress } from "../../base/ip.ts";
import { httpGet } from "./http_get.ts";

function address(port: number): SocketAddress {
  const parsed = parseSocketAddress(`127.0.0.1:${port}`);
  if (parsed === null) throw new Error("not an address");
  return parsed;
}

test("a node that answers", async () => {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => new Response(new URL(request.url).pathname, { status: 404 }),
  });
  expect(await httpGet(address(server.port ?? 0), "/x", 60_000)).toEqual({ status: 404, text: "/x" });
  await server.stop(true);
});

test("no node there is told with what to do about it", async () => {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const port = server.port ?? 0;
  await server.stop(true);
  const thrown = await httpGet(address(port), "/", 60_000).catch((error: unknown) => error);
  expect(thrown).toMatchObject({ code: "connect_refused", blame: "upstream" });
  expect(String(thrown)).toContain(`is a node running with --admin 127.0.0.1:${port}?`);
});

test("a node that never answers is waited for no longer than the limit", async () => {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Promise<Response>(() => {}) });
  const thrown = await httpGet(address(server.port ?? 0), "/", 100).catch((error: unknown) => error);
  expect(thrown).toMatchObject({ code: "connect_timeout" });
  await server.stop(true);
});
