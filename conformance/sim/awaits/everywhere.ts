/** Runs a flow once to count its places, and then once for each of them with an event there. */
import type { MemoryWorld } from "../../../src/host/memory/world.ts";
import { type Place, type Step, Steps } from "./steps.ts";

/** A world in which the flow is about to begin. */
export interface Scene {
  readonly world: MemoryWorld;
  /** A number that changes with what can be seen of the flow, besides events and cryptography. */
  seen(): number;
  begin(): void;
  /** It has come to its end, well or not. */
  isOver(): boolean;
  act(event: string): void;
  /** What does not hold afterwards, each beginning with the checker's word. @param event null when there was none. */
  judge(event: string | null): Promise<readonly string[]>;
}

export interface Flow {
  readonly name: string;
  readonly events: readonly string[];
  make(): Promise<Scene>;
}

export interface Finding {
  readonly place: Place;
  readonly kind: string;
  readonly what: string;
}

/** Longer than any time-out that an event may leave a flow to. */
const flowMs = 15_000;

async function runScene(
  flow: Flow,
  event: string | null,
  place: Place | null,
): Promise<{
  readonly steps: readonly Step[];
  readonly found: readonly string[];
  readonly hasActed: boolean;
}> {
  const scene = await flow.make();
  const { world } = scene;
  const onRejection = (reason: unknown): void => world.schedule.fail(reason);
  process.on("unhandledRejection", onRejection);
  const steps = new Steps(
    world,
    () => scene.seen(),
    place,
    () => scene.act(event ?? ""),
  );
  try {
    scene.begin();
    await world.runUntil(() => scene.isOver(), world.nowMs + flowMs);
    steps.stop();
    const found = place !== null && !steps.hasActed ? [] : await scene.judge(event);
    return { steps: steps.steps, found, hasActed: steps.hasActed };
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { steps: steps.steps, found: [`broken: ${text}`], hasActed: steps.hasActed };
  } finally {
    steps.stop();
    process.off("unhandledRejection", onRejection);
  }
}

/** The flow by itself. @throws when it does not hold even so. */
export async function countSteps(flow: Flow): Promise<readonly Step[]> {
  const { steps, found } = await runScene(flow, null, null);
  if (found.length > 0) throw new Error(`${flow.name}, with no event: ${found.join("; ")}`);
  return steps;
}

export function placesOf(steps: readonly Step[]): readonly Place[] {
  return steps.flatMap(({ lastTurn }, step) =>
    Array.from({ length: lastTurn + 2 }, (_, turn) => ({ step, turn })),
  );
}

/** @param isEnough whether what was found ends the search. */
export async function tryEverywhere(
  flow: Flow,
  event: string,
  steps: readonly Step[],
  isEnough: (findings: readonly Finding[]) => boolean,
): Promise<{ readonly tried: number; readonly findings: readonly Finding[] }> {
  const findings: Finding[] = [];
  let tried = 0;
  for (const place of placesOf(steps)) {
    const { found, hasActed } = await runScene(flow, event, place);
    if (hasActed) tried++;
    const kind = steps[place.step]?.kind ?? "";
    findings.push(...found.map((what) => ({ place, kind, what })));
    if (isEnough(findings)) break;
  }
  return { tried, findings };
}
