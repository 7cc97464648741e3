/** Why the HTTP client is not over `fetch`: see `http_client.ts`. When one of these fails after an upgrade, it may be again. */
import { afterEach, expect, test } from "bun:test";
import { createServer } from "node:net";

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** @returns the request lines that arrived. */
async function serve(): Promise<{ readonly port: number; readonly lines: string[] }> {
  const lines: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      lines.push(bytes.toString().split("\r\n")[0] ?? "");
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a listener has a port");
  return { port: address.port, lines };
}

test("fetch sends LIST as GET", async () => {
  const { port, lines } = await serve();
  await fetch(`http://127.0.0.1:${port}/`, { method: "LIST", keepalive: false });
  expect(lines).toEqual(["GET / HTTP/1.1"]);
});

test("fetch goes where HTTP_PROXY says, an empty proxy option notwithstanding", async () => {
  const [target, proxy] = [await serve(), await serve()];
  process.env.HTTP_PROXY = `http://127.0.0.1:${proxy.port}`;
  cleanups.push(() => {
    delete process.env.HTTP_PROXY;
  });
  await fetch(`http://127.0.0.1:${target.port}/`, { proxy: "", keepalive: false });
  expect([target.lines.length, proxy.lines.length]).toEqual([0, 1]);
});
