import { expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { serveHttp } from "./serve_http.ts";

test("a body of the administration's HTTP is taken up to its bound, and one byte more is refused", async () => {
  const ip = IpAddress.parse("127.0.0.1");
  if (ip === null) throw new Error("no address");
  const taken: number[] = [];
  const listener = serveHttp({ ip, port: 0 }, async (request) => {
    taken.push((await request.arrayBuffer()).byteLength);
    return new Response("ok");
  });
  const { httpRequestBodyBytes } = hostLimits;
  const post = async (bytes: number): Promise<number> => {
    const url = `http://127.0.0.1:${listener.address.port}/`;
    return (await fetch(url, { method: "POST", body: new Uint8Array(bytes) })).status;
  };
  try {
    expect([await post(httpRequestBodyBytes), taken]).toEqual([200, [httpRequestBodyBytes]]);
    expect([await post(httpRequestBodyBytes + 1), taken.length]).toEqual([413, 1]);
  } finally {
    listener.close();
  }
});
