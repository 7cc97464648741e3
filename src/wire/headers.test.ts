import { describe, expect, test } from "bun:test";
import {
  formatBaggage,
  formatForwarded,
  formatTraceparent,
  parseBaggage,
  parseForwardedHost,
} from "./headers.ts";

describe("baggage", () => {
  const cart = {
    cluster: "c1",
    namespace: "shop",
    workloadType: "deployment",
    workloadName: "cart",
    serviceName: "cart",
    serviceVersion: "v1",
    region: "eu",
    zone: "eu-1",
  };

  test("is written in ztunnel's order and read back", () => {
    const text = formatBaggage(cart);
    expect(text).toBe(
      "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,service.version=v1,cloud.region=eu,cloud.availability_zone=eu-1",
    );
    expect(parseBaggage(text)).toEqual(cart);
  });

  test("leaves out what is not known and what would break the header", () => {
    const broken = { ...parseBaggage(""), namespace: "a,b", region: "x\r\ny: z", cluster: "c" };
    expect(formatBaggage(broken)).toBe("k8s.cluster.name=c");
  });

  test("ignores unknown keys and cuts a value at a second equals sign", () => {
    expect(parseBaggage("other=1,service.name=a=b,,=")).toEqual({ ...parseBaggage(""), serviceName: "a" });
  });
});

describe("forwarded", () => {
  test("names source and service as ztunnel does", () => {
    expect(formatForwarded("10.0.0.1:47", null)).toBe('for="10.0.0.1:47"');
    expect(formatForwarded("[::1]:47", "db.shop")).toBe('for="[::1]:47";host=db.shop');
    expect(parseForwardedHost('for="10.0.0.1:47";host=db')).toBe("db");
    expect(parseForwardedHost('for="10.0.0.1:47"')).toBeNull();
  });
});

describe("traceparent", () => {
  test("a new one has the one valid form", () => {
    const text = formatTraceparent(new Uint8Array(24).fill(0xab));
    expect(text).toBe(`00-${"ab".repeat(16)}-${"ab".repeat(8)}-00`);
  });
});
