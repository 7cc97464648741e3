import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { aliasesOf } from "./name_search.ts";
import { VirtualAddresses } from "./virtual_addresses.ts";

const names = (name: string, search: readonly string[] = []): readonly string[] =>
  aliasesOf(name, "shop", "cluster.local", search).map(
    (alias) => `${alias.isStripped ? "-" : ""}${alias.name}`,
  );

describe("under which names a name is looked for (ztunnel get_aliases)", () => {
  test("one label: the namespace's own", () =>
    expect(names("db")).toEqual(["db", "db.shop.svc.cluster.local", "db.shop"]));
  test("two labels: a service and its namespace, or a host of ours", () =>
    expect(names("db.bank")).toEqual([
      "db.bank",
      "db.bank.svc.cluster.local",
      "db.bank.shop.svc.cluster.local",
    ]));
  test("three labels", () => {
    expect(names("db.bank.svc")).toEqual([
      "db.bank.svc",
      "db.bank.svc.cluster.local",
      "db.bank.svc.svc.cluster.local",
    ]);
    expect(names("a.b.c")).toEqual(["a.b.c", "a.b.c.svc.cluster.local"]);
  });
  test("four labels", () => {
    expect(names("0.db.bank.svc")).toEqual(["0.db.bank.svc", "0.db.bank.svc.cluster.local"]);
    expect(names("a.b.c.d")).toEqual(["a.b.c.d"]);
  });
  test("a search domain of the host is taken off, and what is left is looked for as well", () => {
    expect(names("db.example.com", ["example.com", "other.org"])).toEqual([
      "db.example.com",
      "db.example.com.svc.cluster.local",
      ...["-db", "-db.shop.svc.cluster.local", "-db.shop"],
    ]);
    expect(names("example.com", ["example.com"])).toEqual(names("example.com"));
  });
});

const ip = (text: string): IpAddress => IpAddress.parse(text) ?? IpAddress.loopback(true);

describe("virtual addresses", () => {
  test("are the same for a name on every node, in Istio's ranges, and lead back", () => {
    const [a, b] = [new VirtualAddresses(), new VirtualAddresses()];
    b.of("other.shop");
    const pair = a.of("backend.shop");
    expect(pair?.ipv4.text).toMatch(/^240\.240\.\d+\.\d+$/);
    expect(pair?.ipv6.text).toMatch(/^2001:2::/);
    expect(b.of("backend.shop")?.ipv4.text).toBe(pair?.ipv4.text ?? "");
    for (const each of [pair?.ipv4, pair?.ipv6])
      expect(each === undefined ? null : a.nameOf(each)).toBe("backend.shop");
  });

  test("of nothing are told from addresses of others", () => {
    const addresses = new VirtualAddresses();
    expect(
      ["240.240.3.4", "2001:2::304", "240.241.0.1", "10.0.0.1", "2001:2:1::1", "2001:2::1:0:1"].map((text) =>
        addresses.nameOf(ip(text)),
      ),
    ).toEqual([...[null, null, undefined, undefined, undefined, undefined]]);
  });

  test("are all given out, each once, and then none; what is gone makes room", () => {
    const addresses = new VirtualAddresses();
    const given = new Set<string>();
    for (let index = 0; index < meshLimits.maxVirtualAddresses; index++)
      given.add(addresses.of(`s${index}.shop`)?.ipv4.text ?? "");
    expect([given.size, given.has(""), given.has("240.240.0.0"), given.has("240.240.255.255")]).toEqual([
      ...[meshLimits.maxVirtualAddresses, false, false, false],
    ]);
    expect(addresses.of("one-more.shop")).toBeNull();
    addresses.prune((name) => name !== "s7.shop");
    expect(addresses.of("one-more.shop")).not.toBeNull();
    expect(addresses.of("s7.shop")).toBeNull();
  });
});
