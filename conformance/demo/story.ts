/** Tells what happens and keeps count of what held. Colours on a terminal alone. */
import { formatTally } from "../../scripts/tally.ts";

export class Story {
  readonly #colors = process.stdout.isTTY === true;
  #passed = 0;
  #failed = 0;

  chapter(title: string): void {
    console.log(`\n${this.#paint(1, title)}`);
  }

  tell(text: string): void {
    console.log(`  ${text}`);
  }

  show(text: string): void {
    for (const line of text.trimEnd().split("\n")) console.log(`    ${this.#paint(2, line)}`);
  }

  /** One thing that must hold. */
  check(holds: boolean, claim: string, found: string): boolean {
    if (holds) this.#passed++;
    else this.#failed++;
    console.log(`  ${holds ? this.#paint(32, "✓") : this.#paint(31, "✗")} ${claim}`);
    if (!holds) console.log(this.#paint(31, `    but: ${found}`));
    return holds;
  }

  get allHeld(): boolean {
    return this.#failed === 0 && this.#passed > 0;
  }

  close(): void {
    console.log(`\n${formatTally({ passed: this.#passed, failed: this.#failed, skipped: 0 })}`);
  }

  #paint(code: number, text: string): string {
    return this.#colors ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}
