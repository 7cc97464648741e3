/**
 * A protocol without I/O. Bytes and time come in as arguments; bytes and events go out. The same input gives the
 * same output, so a test or a simulator can drive it, and so can `transport/drive.ts` over a real socket.
 */
export interface Machine {
  /**
   * Takes bytes of the peer. A peer's error becomes output (GOAWAY, then `done`), never an exception. The machine
   * may keep views into `bytes`; the caller does not reuse them.
   *
   * @param now monotonic milliseconds.
   * @returns how many were taken. It is fewer than given when they ask for more work than one turn of the event loop
   *   should do: the rest is the caller's to give again, in this turn or a later one, before anything that follows it.
   */
  receive(bytes: Uint8Array, now: number): number;

  /** The peer will send no more bytes. */
  receiveEnd(now: number): void;

  /** Whether `takeOutput` would return anything now. */
  readonly wantsOutput: boolean;

  /**
   * The next bytes for the peer, in order, about `maxBytes` of them (one frame more at the most). The array and any
   * view of the machine's scratch memory are valid only until the next call on this machine: a caller that cannot
   * write them all at once copies the rest.
   */
  takeOutput(maxBytes: number): readonly Uint8Array[];

  /** Whether a chunk of the last `takeOutput` lies in memory that the next call overwrites; other chunks stay as they are and need no copy. */
  isScratch(chunk: Uint8Array): boolean;

  /** When `tick` wants to be called, in monotonic milliseconds; null for never. */
  readonly deadlineMs: number | null;
  tick(now: number): void;

  /** Nothing more will be read or written: once the output is taken the transport is to be closed. */
  readonly done: boolean;
}
