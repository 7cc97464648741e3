/** Capture as a part of a node: its rules from the settings, whether they are in force, and what an operator has to know of this host. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { captureLimits } from "../../base/limits/capture.ts";
import type { Logger } from "../../base/log.ts";
import { prefixContains } from "../../base/prefix.ts";
import type { Config } from "../../config/node/config.ts";
import { Capture } from "../../host/capture/capture.ts";
import { inspectHost } from "../../host/capture/findings.ts";
import { addressesOfBridges } from "../../host/capture/host_facts.ts";
import type { CaptureOptions } from "../../host/capture/options.ts";
import { describeCapture, Trial } from "../../host/capture/trial.ts";
import type { Host } from "../../host/host.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { captureOptions } from "./capture_options.ts";

type Installed = Pick<Capture, "inForce" | "repairs" | "pause" | "resume" | "remove">;

/** The rules, and the trial that they are on. */
export class NodeCapture {
  readonly #capture: Installed;
  readonly #trial: Trial | null;

  constructor(capture: Installed, trial: Trial | null) {
    this.#capture = capture;
    this.#trial = trial;
  }

  get inForce(): boolean {
    return this.#capture.inForce;
  }

  get repairs(): number {
    return this.#capture.repairs;
  }

  /** What readiness waits for; null for nothing. */
  get pending(): string | null {
    if (this.#trial?.state === "reverted") return "capture rules, which were not confirmed";
    return this.inForce ? null : "capture rules";
  }

  /** @returns why there is nothing to confirm; null when it is done. */
  async confirm(caller: string): Promise<string | null> {
    if (this.#trial === null) return "capture is not on trial here (--confirm), or was confirmed before";
    if (await this.#trial.confirm(caller)) return null;
    return this.#trial.state === "confirmed"
      ? "capture is confirmed already"
      : "it is too late: capture was taken back";
  }

  /** As `Capture.pause`. @throws MeshError while it is on trial: another process would begin the trial again. */
  async pause(): Promise<void> {
    if (this.#trial?.state === "waiting")
      throw new MeshError(
        "configuration",
        "local",
        "capture is on trial: run fairlead capture confirm first",
      );
    await this.#capture.pause();
  }

  resume(): void {
    this.#capture.resume();
  }

  /** Idempotent. */
  async remove(): Promise<void> {
    await this.#capture.remove();
    // Last: until the rules are gone somebody else has to see to it that they go.
    this.#trial?.close();
  }
}

export interface CaptureTenure {
  /** Takes back what else leads this host's programs here, when no confirmation comes. */
  readonly withdraw: () => Promise<void>;
  /** As `Capture.install` has it. */
  readonly holds: () => boolean;
}

/**
 * Says what of this host gets in the way of capture; none of it keeps the node from starting.
 *
 * @throws MeshError as `Capture.install`.
 */
export async function startCapture(
  host: Host,
  config: Config,
  context: NodeContext,
  { withdraw, holds }: CaptureTenure,
): Promise<NodeCapture> {
  const { logger } = context;
  const options = await captureOptions(host, config);
  const trial = await beginTrial(host, config, options, logger);
  try {
    const capture = await Capture.install(host, options, logger, holds);
    trial?.onDeadline(async () => {
      await capture.remove();
      await withdraw();
    });
    await tellFindings(host, config, context, options);
    return new NodeCapture(capture, trial);
  } catch (error) {
    trial?.close();
    throw error;
  }
}

async function beginTrial(
  host: Host,
  { capture: { confirm } }: Config,
  options: CaptureOptions,
  logger: Logger,
): Promise<Trial | null> {
  if (confirm === null) return null;
  const { afterMs, path } = confirm;
  const trial = await Trial.begin(
    host,
    {
      afterMs,
      path,
      subject: describeCapture(options),
      guardWords: ["capture", "guard", `${afterMs + captureLimits.guardLaterMs}ms`],
    },
    logger,
  );
  if (trial !== null)
    logger.log(
      "warn",
      "capture",
      `capture is on trial: it is taken back in ${Math.round(afterMs / 1000)} s`,
      {
        remedy: "when this host can still be reached, run: fairlead capture confirm",
      },
    );
  return trial;
}

async function tellFindings(
  host: Host,
  config: Config,
  { logger, locals, net }: NodeContext,
  options: CaptureOptions,
): Promise<void> {
  const told = new Set<string>(options.containers === "exclude" ? await addressesOfBridges(host) : []);
  const tellAddresses = (): void => {
    if (locals.all.length === 0) return;
    for (const ip of refusedAddresses(net.localAddresses(), options, (ip) => locals.byAddress(ip) !== null)) {
      if (told.has(ip.text)) continue;
      told.add(ip.text);
      logger.log(
        "warn",
        "capture",
        `${ip.text} is an address of this host and of no workload: inbound connections to it are refused; to allow them outside of the mesh, start with --capture-exclude-inbound ${ip.text}`,
      );
    }
  };
  tellAddresses();
  locals.subscribe(tellAddresses);
  const findings = await inspectHost(host, { ...options, hbonePort: config.ports.hbone });
  for (const { message, remedy } of findings) logger.log("warn", "capture", message, { remedy });
}

/** Addresses of this host to which captured connections lead nowhere. */
function refusedAddresses(
  addresses: readonly IpAddress[],
  { excludeInboundCidrs }: CaptureOptions,
  isWorkloads: (ip: IpAddress) => boolean,
): readonly IpAddress[] {
  return addresses.filter(
    (ip) =>
      !ip.isLoopback &&
      // Link-local: no application is dialled there but by its neighbour, and every interface has one.
      !/^fe[89ab]/.test(ip.text) &&
      !isWorkloads(ip) &&
      !excludeInboundCidrs.some((prefix) => prefixContains(prefix, ip)),
  );
}
