/** The unit by which systemd runs the program, without root: systemd.service(5), systemd.exec(5). */

export interface UnitSettings {
  readonly binary: string;
  readonly user: string;
  /** What the program is started with. */
  readonly words: readonly string[];
}

export const unitName = "fairlead.service";
export const argumentsPath = "/etc/default/fairlead";

export function unitText({ binary, user, words }: UnitSettings): string {
  // resolv.conf is root's, and is replaced in its directory.
  const setsNames = words.some((word) => word.startsWith("--dns-setup")) && !words.includes("off");
  const capabilities = [
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_NET_BIND_SERVICE",
    ...(setsNames ? ["CAP_DAC_OVERRIDE"] : []),
  ].join(" ");
  return `# Written by fairlead install; fairlead uninstall removes it. Your own changes belong into
# /etc/systemd/system/${unitName}.d/*.conf (systemctl edit fairlead).
[Unit]
Description=Fairlead, this host's part of a zero-trust mesh
Documentation=man:fairlead(1)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
EnvironmentFile=-${argumentsPath}
ExecStart=${binary} $FAIRLEAD_ARGS
# Reads settings again, and runs the binary that is there now, without cutting a connection.
ExecReload=${binary} upgrade
# Also after a crash: no rule and no resolver of ours outlives the process.
ExecStopPost=+-${binary} capture remove --force
ExecStopPost=+-${binary} names remove
Restart=always
RestartSec=1s
WatchdogSec=30s
TimeoutStartSec=90s
# Open connections finish within --drain-deadline.
TimeoutStopSec=90s
KillMode=mixed
LimitNOFILE=1048576
OOMScoreAdjust=-500

User=${user}
Group=${user}
AmbientCapabilities=${capabilities}
CapabilityBoundingSet=${capabilities}
NoNewPrivileges=yes
UMask=0077

StateDirectory=fairlead
StateDirectoryMode=0700
RuntimeDirectory=fairlead
RuntimeDirectoryMode=0755
ConfigurationDirectory=fairlead
ConfigurationDirectoryMode=0750

ProtectSystem=strict
${setsNames ? "ReadWritePaths=-/etc\n" : ""}ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`;
}

/** systemd splits what is in it at blanks, and takes quotes away (systemd.exec(5), "EnvironmentFile="). */
export function argumentsText(words: readonly string[]): string {
  const joined = words.map((word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : quote(word))).join(" ");
  return `# What fairlead is started with; after a change: systemctl restart fairlead\nFAIRLEAD_ARGS=${JSON.stringify(joined)}\n`;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

export const sampleConfigPath = "/etc/fairlead/fairlead.yaml";

export const sampleConfig = `# Settings of this host, by their names without dashes: fairlead node --help shows all.
# Where its mesh comes from, one of:
# control: https://control.example:15012
# mesh: [/etc/fairlead/mesh]
# What captures its applications' connections, and answers their names:
# capture: redirect
# dnsSetup: resolv-conf
`;
