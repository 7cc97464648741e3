/** The process that has taken a node's place is told what is counted here, little by little and to the end: a scraper sees one process's counters. */

import { PassedCounts } from "../../base/counts/passed.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { HandoverLink } from "../../host/handover.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { words } from "./succession.ts";

export interface CountsToldOptions {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  readonly link: HandoverLink;
}

export class CountsTold {
  readonly #clock: Clock;
  readonly #link: HandoverLink;
  readonly #passed: PassedCounts;
  #timer: Timer | null = null;
  #telling: Promise<void> = Promise.resolve();
  /** The other process answers no more. */
  #isOver = false;

  constructor({ clock, metrics, link }: CountsToldOptions) {
    this.#clock = clock;
    this.#link = link;
    this.#passed = new PassedCounts(metrics);
  }

  /** What was counted since it was last told. The link has no other reader meanwhile. @param heard resolves with the answer to each message; throws what it throws. */
  async tell(heard: () => Promise<string | null>): Promise<void> {
    for (const text of this.#passed.since()) {
      if (text === null) {
        await new Promise<void>((resolve) => this.#clock.defer(resolve));
        continue;
      }
      this.#link.send(`${words.counts}${text}`);
      if ((await heard()) === words.counted) continue;
      this.#isOver = true;
      return;
    }
  }

  /** Tells it every now and then. */
  goOn(): void {
    this.#timer = this.#clock.setTimer(upgradeLimits.countsMs, () => {
      this.#telling = this.tell(() => this.#link.next());
      void this.#telling.then(() => {
        if (!this.#isOver) this.goOn();
      });
    });
  }

  /** The last of it. Resolves when the other process has it, or after a while without an answer. */
  async finish(): Promise<void> {
    const told = this.#last();
    const late = Promise.withResolvers<void>();
    const timer = this.#clock.setTimer(upgradeLimits.lastCountsMs, late.resolve);
    await Promise.race([told, late.promise]);
    timer.cancel();
    this.#link.close();
  }

  async #last(): Promise<void> {
    await this.#telling;
    this.#timer?.cancel();
    if (!this.#isOver) await this.tell(() => this.#link.next());
  }
}
