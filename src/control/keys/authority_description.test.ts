import { expect, test } from "bun:test";
import { WatchSource } from "../../base/watch.ts";
import { Forge, type Forged } from "../../pki/testing/forge.ts";
import { AuthorityList, describeAuthorities, pinOf } from "./authority_description.ts";
import type { AuthorityView, LoadedAuthority } from "./authority_view.ts";
import { nowMs, provider } from "./testing/fixture.ts";

test("authorities are told in their order, with what each is there for", async () => {
  const forge = new Forge(provider, nowMs);
  const root = await forge.ca({ subject: "CN=root" });
  const other = await forge.ca({ subject: "CN=other" });
  const middle = await forge.ca({ subject: "CN=middle", issuer: root });
  const loaded = (id: string, { parsed }: Forged, more: Partial<LoadedAuthority>): LoadedAuthority =>
    ({
      id,
      kind: "root",
      certificate: parsed,
      above: [],
      roots: [parsed],
      createdAtMs: 7,
      unavailable: null,
      ...more,
    }) as LoadedAuthority;
  const view = {
    authorities: [
      loaded("gone", other, { state: "retiring" }),
      loaded("root", root, { state: "retiring" }),
      loaded("next", await forge.ca({ subject: "CN=next" }), { state: "next", unavailable: "Vault is away" }),
      loaded("middle", middle, {
        state: "active",
        kind: "intermediate",
        above: [root.parsed],
        roots: [root.parsed],
      }),
    ],
  } as unknown as AuthorityView;
  const told = await describeAuthorities(view, provider);
  expect(told.map(({ id, kind, state, role, unavailable }) => [id, kind, state, role, unavailable])).toEqual([
    ["middle", "intermediate", "active", "issues", null],
    ["next", "root", "next", "announced", "Vault is away"],
    ["gone", "root", "retiring", "on its way out", null],
    ["root", "root", "retiring", "signs intermediates", null],
  ]);
  const pin = await pinOf(root.parsed, provider);
  expect(pin).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(told[0]).toMatchObject({
    certificate: { subject: "CN=middle", notAfterMs: middle.parsed.notAfterMs },
    roots: [{ subject: "CN=root", pin }],
  });
  expect(told[0]?.certificate.fingerprint).not.toBe(told[0]?.roots[0]?.fingerprint);
  const source = new WatchSource<AuthorityView>(view);
  const list = await AuthorityList.follow(source, provider);
  expect(list.entries).toEqual(told);
  source.set({ authorities: [] } as unknown as AuthorityView);
  while (list.entries.length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  list.close();
  source.set(view);
  expect(list.entries).toEqual([]);
});
