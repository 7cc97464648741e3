/** A question to the person at the terminal. */

/** Waits for one line. @returns null when nobody can be asked, or the input has ended. */
export function ask(question: string): string | null {
  return prompt(question.trimEnd());
}
