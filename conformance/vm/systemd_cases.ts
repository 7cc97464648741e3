/** An installation under a systemd that runs: nothing of it is looked at from outside. */
import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { eventually } from "../peer/lab/eventually.ts";
import { findBinary } from "../upgrade/stage.ts";
import { type Check, equal, type Group, holds } from "./group.ts";
import { SystemdHost, whyNoSystemd } from "./systemd_host.ts";

const cases = {
  starts:
    "install starts the service, as its user with its capabilities alone, and ready before it is called started",
  unit: "in its place the unit is found without a fault, and less exposed than 3.0",
  again: "a second installation and a half-removed one leave the service whole",
  watchdog: "a process that hangs is ended by the watchdog and started again",
  crash: "after a kill another process is there, with the rules in force",
  rules: "a service that is killed and not started again leaves no rule (ExecStopPost)",
  reload: "reload gives the service to another process, whom systemd then watches; the one before it ends",
  upgrade: "upgrade from within the sandbox: another binary, and the one before it kept",
  reboot: "it survives a cut of power: up again by itself, rules in force",
  uninstall: "uninstalling leaves no trace: no process, rule, unit, file or user",
} as const;

const address = "10.9.0.1";
const unit = "fairlead.service";
const dropIn = "etc/systemd/system/fairlead.service.d";

const documents = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: ${address}, serviceAccount: cart}
`;

export const systemd: Group = {
  cases: Object.values(cases),
  whyNot: whyNoSystemd,
  run: async (directory, check) => {
    const host = new SystemdHost(directory, address);
    try {
      copyFileSync(findBinary(), host.path("var/fairlead-binary"));
      chmodSync(host.path("var/fairlead-binary"), 0o755);
      await host.boot();
      await story(host, check);
    } finally {
      await host.close();
    }
  },
};

async function story(host: SystemdHost, check: Check): Promise<void> {
  const before = host.tree();
  const install = (...more: readonly string[]) =>
    host.run("/var/fairlead-binary", "install", "--binary", "/var/fairlead-binary", ...more);
  const pid = (): number => Number(host.show(unit, "MainPID"));
  const rules = (): string => host.run("nft", "list", "ruleset").out;
  const told = (): string =>
    [
      host.run("systemctl", "status", "--no-pager", unit).out,
      host.run("tail", "-n", "20", "/var/log/fairlead.log").out,
      host.said(),
    ].join("\n");
  const kill = (signal: string, process: number): void => {
    // 0 and less are no process.
    holds(process > 1, `no process to kill: ${process}\n${told()}`);
    equal(host.run("kill", `-${signal}`, String(process)).code, 0, `kill ${process}`);
  };
  const active = async (what: string, holdsToo: () => boolean = () => true): Promise<void> => {
    await eventually(what, () => host.show(unit, "ActiveState") === "active" && holdsToo(), told);
    holds(rules().includes("15001"), `no rules:\n${rules()}`);
  };
  /** What an operator adds to the unit; null takes it back. */
  const set = (lines: string | null): void => {
    const path = host.path(dropIn, "test.conf");
    rmSync(path, { force: true });
    mkdirSync(host.path(dropIn), { recursive: true });
    if (lines !== null) writeFileSync(path, lines);
    equal(host.run("systemctl", "daemon-reload").code, 0);
  };

  await check(cases.starts, async () => {
    mkdirSync(host.path("etc/fairlead/mesh"), { recursive: true });
    writeFileSync(host.path("etc/fairlead/mesh/mesh.yaml"), documents);
    mkdirSync(host.path(dropIn), { recursive: true });
    // There is no journal here.
    writeFileSync(
      host.path(dropIn, "log.conf"),
      "[Service]\nStandardOutput=append:/var/log/fairlead.log\nStandardError=append:/var/log/fairlead.log\n",
    );
    const { code, out } = install("--", "up", "-f", "/etc/fairlead/mesh", "--capture", "redirect");
    equal(code, 0, `${out}\n${told()}`);
    // It is no later: Type=notify.
    equal(host.show(unit, "ActiveState"), "active", told());
    equal(host.run("curl", "-sf", "http://127.0.0.1:15021/healthz/ready").out, "ready");
    await active("the service");
    const status = host.run("cat", `/proc/${pid()}/status`).out;
    // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW (capability.h).
    equal(
      /^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1],
      ((1n << 10n) | (1n << 12n) | (1n << 13n)).toString(16).padStart(16, "0"),
    );
    equal(/^NoNewPrivs:\s+(\d)$/m.exec(status)?.[1], "1");
    equal(host.run("stat", "-c", "%U", `/proc/${pid()}`).out, "fairlead");
    equal(host.run("systemctl", "is-enabled", unit).out, "enabled");
  });
  await check(cases.unit, async () => {
    equal(host.run("systemd-analyze", "verify", `/etc/systemd/system/${unit}`), { code: 0, out: "" });
    const { out } = host.run("systemd-analyze", "security", "--no-pager", unit);
    const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(out)?.[1] ?? Number.NaN);
    holds(exposure < 3, `exposure ${exposure}`);
  });
  await check(cases.again, async () => {
    const tree = host.tree();
    equal(install().code, 0);
    await active("after a second installation");
    equal(host.tree(), tree);
    rmSync(host.path("etc/systemd/system", unit));
    rmSync(host.path("usr-local/bin/fairlead"));
    const checked = host.run("/var/fairlead-binary", "check", "--json");
    holds(checked.out.includes("{"), checked.out);
    equal(install().code, 0);
    await active("after a half-removed one");
    equal(host.tree(), tree);
  });
  await check(cases.watchdog, async () => {
    set("[Service]\nWatchdogSec=2s\n");
    equal(host.run("systemctl", "restart", unit).code, 0, told());
    const first = pid();
    // Fed, it lives.
    await Bun.sleep(5_000);
    equal(pid(), first, "the main process");
    kill("STOP", first);
    await active("another process", () => pid() !== first && pid() > 0);
    equal(host.show(unit, "NRestarts"), "1");
    set(null);
    equal(host.run("systemctl", "restart", unit).code, 0, told());
  });
  await check(cases.crash, async () => {
    const first = pid();
    kill("KILL", first);
    await active("another process", () => pid() !== first && pid() > 0);
  });
  await check(cases.rules, async () => {
    set("[Service]\nRestart=no\n");
    kill("KILL", pid());
    await eventually("its end", () => host.show(unit, "ActiveState") === "failed", told);
    equal(rules(), "");
    set(null);
    equal(host.run("systemctl", "start", unit).code, 0, told());
    await active("the service");
  });
  await check(cases.reload, async () => {
    const first = pid();
    equal(host.run("systemctl", "reload", unit).code, 0, told());
    await active("another process", () => pid() !== first);
    await eventually(
      "the end of the one before",
      () => host.run("test", "-d", `/proc/${first}`).code !== 0,
      told,
    );
    equal(host.show(unit, "NRestarts"), "0");
    // It is the one that is watched.
    const second = pid();
    kill("KILL", second);
    await active("another process", () => pid() !== second && pid() > 0);
  });
  await check(cases.upgrade, async () => {
    const first = pid();
    const { code, out } = host.run("fairlead", "upgrade", "--to", "/var/fairlead-binary");
    equal(code, 0, `${out}\n${told()}`);
    await active("another process", () => pid() !== first);
    const runs = host.run("readlink", `/proc/${pid()}/exe`).out;
    holds(runs.endsWith("/usr/local/bin/fairlead"), runs);
    equal(host.run("test", "-x", "/usr/local/bin/fairlead.previous").code, 0);
  });
  await check(cases.reboot, async () => {
    await host.cutPower();
    await host.boot();
    await active("the service, by itself");
    equal(host.run("curl", "-sf", "http://127.0.0.1:15021/healthz/ready").out, "ready");
  });
  await check(cases.uninstall, async () => {
    const last = pid();
    rmSync(host.path(dropIn), { recursive: true });
    const { code, out } = host.run("fairlead", "uninstall", "--yes");
    equal(code, 0, out);
    equal(rules(), "");
    equal(
      [host.run("test", "-d", `/proc/${last}`).code === 0, host.show(unit, "LoadState")],
      [false, "not-found"],
    );
    // The log is the test's, and systemd's private folders are of the host that lost its power; folders above what was made stay,
    // and useradd's copies.
    const left = host
      .tree()
      .filter((line) => !before.includes(line))
      .filter(
        (line) =>
          !/^\/(?:var\/log\/fairlead\.log|var\/tmp\/systemd-private-\S+|etc\/(?:passwd-|group-|shadow-|gshadow-|\.pwd\.lock|sub[ug]id-?)) /.test(
            line,
          ),
      )
      .filter((line) => !/^\/(?:usr\/local\/(?:bin|share)|etc\/systemd)(?:\/[a-z1-]+)* 755 root$/.test(line));
    equal(left, []);
    equal(host.run("getent", "passwd", "fairlead").code, 2);
  });
}
