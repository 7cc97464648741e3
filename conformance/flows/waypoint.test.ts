import { describe, expect, test } from "bun:test";
import { answering, bytes, ok, waypointLab, webService, withoutId } from "./waypoint_lab.ts";

const waypointId = "spiffe://cluster.local/ns/shop/sa/waypoint";
const get = (path: string) => bytes(`GET ${path} HTTP/1.1\r\nHost: web.shop\r\n\r\n`);

describe("HTTP/1.1 through a waypoint", () => {
  test("a request and its answer; the endpoint sees the waypoint's identity, the waypoint the client's", async () => {
    const { lab, served, call, waypoint, web, cart } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(get("/a"));
    await lab.until(() => served[0]?.text.includes("\r\n\r\n") === true, "the application");
    expect(withoutId(served[0]?.text)).toBe("GET /a HTTP/1.1\r\nhost: web.shop\r\n\r\n");
    served[0]?.socket.write(bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    await lab.until(() => client.text.endsWith("hi"), "the answer");
    expect(client.text).toBe("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    client.socket.end();
    await lab.until(() => client.closes === 1, "the close");
    await lab.run(2_000);
    expect(cart.access()[0]?.["dst.identity"]).toBe(waypointId);
    expect(waypoint.access()[0]?.["src.identity"]).toBe("spiffe://cluster.local/ns/shop/sa/cart");
    await lab.world.settle(waypoint.node.drain());
    await lab.run(100);
    expect(web.access()[0]?.["src.identity"]).toBe(waypointId);
  });

  test("requests one after the other, and ahead of their answers, over one connection to the endpoint", async () => {
    const { lab, served, call } = await waypointLab(
      webService("HTTP"),
      answering((head) => ok(head.slice(4, 6))),
    );
    const client = await call();
    client.socket.write(get("/1"));
    await lab.until(() => client.text.endsWith("/1"), "the first answer");
    const both = new Uint8Array([...get("/2"), ...get("/3")]);
    client.socket.write(both);
    await lab.until(() => client.text.endsWith("/3"), "the third answer");
    expect(
      client.text
        .split("\r\n\r\n")
        .slice(1)
        .map((text) => text.slice(0, 2)),
    ).toEqual(["/1", "/2", "/3"]);
    expect(served.length).toBe(1);
  });
});
