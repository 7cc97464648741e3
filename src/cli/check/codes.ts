/** What a check can find: a code that stays, what it means and how it is mended. `docs/check/` has a page for each, made of this table. */

export type Severity = "error" | "warning";

export interface CodeEntry {
  readonly severity: Severity;
  readonly title: string;
  /** What it means for this host, in a sentence or two. */
  readonly meaning: string;
  /** A command, or what to do in words; `{subject}` is put in. */
  readonly fix: string;
}

export const codes = {
  FL101: {
    severity: "error",
    title: "This is not Linux, or its kernel is older than 4.18",
    meaning:
      "Capture needs nftables or iptables of such a kernel; without capture applications enter by SOCKS5, HTTP CONNECT or a mapped port.",
    fix: "uname -r",
  },
  FL102: {
    severity: "warning",
    title: "No program is there that can install capture rules",
    meaning: "Applications cannot be captured as they are. Proxies and mapped ports work.",
    fix: "apt-get install nftables",
  },
  FL103: {
    severity: "warning",
    title: "This user may not change the host's network",
    meaning:
      "Capture rules need root or CAP_NET_ADMIN, and are neither installed nor shown without. What a check cannot look at, it does not judge.",
    fix: "sudo fairlead check",
  },
  FL104: {
    severity: "error",
    title: "A port that a node needs is taken by another program",
    meaning: "The node would not start.",
    fix: "ss -ltnp 'sport = :{subject}'",
  },
  FL105: {
    severity: "error",
    title: "This host's clock is wrong",
    meaning:
      "Certificates are judged by it: peers are refused as expired or not yet valid, and this host's own are not renewed in time.",
    fix: "timedatectl set-ntp true",
  },
  FL106: {
    severity: "warning",
    title: "A resolver of this host does not answer",
    meaning:
      "Names outside of the mesh take long or are not found, and a control plane that is called by name is not reached.",
    fix: "resolvectl status; cat /etc/resolv.conf",
  },
  FL107: {
    severity: "error",
    title: "Capture rules are loaded and no node is behind them",
    meaning: "Captured connections of this host are refused, as after a kill.",
    fix: "fairlead capture remove",
  },
  FL108: {
    severity: "error",
    title: "The host's resolver leads to a node, and none is running",
    meaning: "No name is resolved on this host, as after a kill.",
    fix: "fairlead names remove",
  },
  FL109: {
    severity: "warning",
    title: "This process may open few files",
    meaning: "Each connection takes two descriptors; when they run out new connections are refused.",
    fix: "ulimit -n 65536",
  },
  FL110: {
    severity: "error",
    title: "/etc is read-only",
    meaning: "Nothing can be installed, and names cannot be set up by resolv.conf.",
    fix: "mount -o remount,rw /",
  },
  FL111: {
    severity: "error",
    title: "An installation is there by half",
    meaning: "The service and its program belong together; one of them is missing.",
    fix: "fairlead install",
  },
  FL112: {
    severity: "warning",
    title: "A firewall or another program's rules get in the way",
    meaning: "Connections of the mesh are dropped, or led somewhere else, before they reach the node.",
    fix: "{subject}",
  },
  FL201: {
    severity: "error",
    title: "No node answers on this host",
    meaning: "Nothing of this host is in the mesh.",
    fix: "systemctl status fairlead; journalctl -u fairlead -n 50",
  },
  FL202: {
    severity: "error",
    title: "The node is not ready",
    meaning: "It waits for what is named; until then it carries nothing, or not all.",
    fix: "journalctl -u fairlead -n 50",
  },
  FL203: {
    severity: "error",
    title: "A workload has no certificate",
    meaning: "It can neither call nor be called in the mesh. The state says why the CA gave none.",
    fix: "fairlead get certificates",
  },
  FL204: {
    severity: "error",
    title: "A certificate is expired or about to expire",
    meaning:
      "Certificates are renewed at half of their life. One that is nearly over was not, for a reason in the log.",
    fix: "journalctl -u fairlead -n 200 | grep pki",
  },
  FL205: {
    severity: "error",
    title: "A document is refused",
    meaning:
      "Its last good version stays in force, or, for a policy that never had one, what it may concern is denied.",
    fix: "fairlead get documents",
  },
  FL206: {
    severity: "warning",
    title: "A document has no effect, or another one than it seems to",
    meaning: "It was accepted; what it says it does not do, a selector that selects nothing for example.",
    fix: "fairlead get documents",
  },
  FL207: {
    severity: "error",
    title: "The control plane is not connected",
    meaning:
      "The node goes on with the mesh as it last knew it. Changes, revocations among them, do not arrive, and certificates are not renewed.",
    fix: "fairlead get control",
  },
  FL208: {
    severity: "warning",
    title: "The node goes by an old mesh",
    meaning: "What the control plane has now has not arrived yet.",
    fix: "fairlead get control",
  },
  FL209: {
    severity: "error",
    title: "A peer is not reached on its HBONE port",
    meaning: "No workload there can be called. Its node is down, or a firewall in between drops port 15008.",
    fix: "nc -vz {subject} 15008",
  },
  FL210: {
    severity: "error",
    title: "Capture is switched on and its rules are not in force",
    meaning: "Connections of this host go around the mesh, or nowhere.",
    fix: "fairlead capture status",
  },
  FL211: {
    severity: "warning",
    title: "A cgroup that capture goes by is not there",
    meaning:
      "Its programs are not running, or its path is not written as the host has it. Rules follow once it is made.",
    fix: "systemd-cgls /{subject}",
  },
  FL301: {
    severity: "warning",
    title: "A workload of this host accepts plain text",
    meaning:
      "Whoever reaches its port is served without an identity. A PeerAuthentication with mode STRICT ends that.",
    fix: "fairlead explain --from outside --to {subject} --port 65535",
  },
  FL302: {
    severity: "warning",
    title: "An ALLOW policy lets every caller in",
    meaning: "One of its rules names no source at all.",
    fix: "fairlead get policies -o json",
  },
  FL303: {
    severity: "warning",
    title: "A service has no endpoint",
    meaning: "Calls to it fail. Its selector selects no workload, or all of them are unhealthy.",
    fix: "fairlead get services",
  },
} as const satisfies Readonly<Record<string, CodeEntry>>;

export type Code = keyof typeof codes;

/** One thing that was found, about one subject. */
export interface CheckFinding {
  readonly code: Code;
  readonly subject: string;
  /** What exactly is so here. */
  readonly detail: string;
}

export function fixOf({ code, subject }: CheckFinding): string {
  return codes[code].fix.replaceAll("{subject}", subject);
}

/** The page of a code, as it is in `docs/check/`. */
export function pageOf(code: Code): string {
  const { severity, title, meaning, fix } = codes[code];
  const group = code.startsWith("FL1")
    ? "this host (`fairlead check --pre` too)"
    : code.startsWith("FL2")
      ? "the running node"
      : "policies and services";
  const wrapped = wrap(meaning);
  return `# ${code}: ${title}\n\n${severity}, about ${group}\n\n${wrapped}\n\nTo mend it, or to see more:\n\n\`\`\`\n${fix.replaceAll("{subject}", code === "FL104" ? "15001" : code === "FL209" ? "10.0.0.2" : code === "FL112" ? "(the rule that the finding names)" : code === "FL211" ? "mesh.slice/shop.service" : "NAMESPACE/NAME")}\n\`\`\`\n`;
}

function wrap(text: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (`${line} ${word}`.length > 118) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join("\n");
}
