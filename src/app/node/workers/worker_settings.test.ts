import { expect, test } from "bun:test";
import { loadConfig } from "../../../config/load.ts";
import type { SettingName } from "../../../config/settings.ts";
import { FrameReader, writeFrame } from "../../../workers/frames.ts";
import { workerConfig } from "./worker_settings.ts";

function configOf(flags: Readonly<Record<string, readonly string[]>>) {
  const { config, errors } = loadConfig({
    flags: new Map(Object.entries(flags) as [SettingName, readonly string[]][]),
    environment: { HOME: "/h" },
    file: null,
  });
  if (config === null) throw new Error(JSON.stringify(errors));
  return config;
}

test.each([
  [
    "a node of a control plane, with its join token",
    {
      control: ["https://10.0.0.10:15012"],
      joinToken: [`fjt_${"a".repeat(16)}_${"0".repeat(64)}`],
      caPin: [`sha256:${"0".repeat(64)}`],
    },
  ],
  [
    "a node of documents, with all kinds of ways in and bounds",
    {
      mesh: ["mesh.yaml"],
      capture: ["redirect"],
      captureInclude: ["10.0.0.0/8"],
      socks5: ["127.0.0.1:1080"],
      localPorts: ["127.0.0.1:8080=db.shop:80"],
      applications: ["10.0.0.5:80=127.0.0.1:8080"],
    },
  ],
])("%s: what a worker is told comes over as it is, and has no secret in it", (_what, flags) => {
  const config = workerConfig(configOf({ workers: ["2"], ...flags }));
  const frame = writeFrame(config);
  expect([...new FrameReader().receive(frame)]).toEqual([config]);
  expect(new TextDecoder().decode(frame)).not.toMatch(/fjt_|ca-key|state/);
});
