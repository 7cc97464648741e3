/** What is in the files of an earlier release, as it was put there. */
export interface Expected {
  /** Keys of the documents in force. */
  readonly documents: readonly string[];
  readonly documentVersion: number;
  /** Of the hosts that have joined. */
  readonly workloads: readonly string[];
  readonly revokedIdentity: string;
  /** Join tokens, spent ones among them. */
  readonly tokens: number;
  /** Kinds of the authorities whose keys are sealed in the state. */
  readonly authorities: readonly string[];
  /** `HOST:PORT` that the host has joined. */
  readonly control: string;
}
