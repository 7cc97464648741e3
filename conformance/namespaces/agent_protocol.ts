/** What a test and an application of its say to each other, a line of JSON each. */

/** What a listener does with each connection. */
export type Behaviour =
  /** Sends back what comes; ends when the caller ends. */
  | { readonly kind: "echo" }
  /** Speaks first, and says whom it sees; then as `echo`. */
  | { readonly kind: "greet" }
  /** As `greet`, without telling the test of each connection. */
  | { readonly kind: "greet_quietly" }
  /** Says nothing until the caller has ended, then how many bytes came and their digest. */
  | { readonly kind: "answer_at_end" }
  /** Sends so many bytes while it reads, and ends. */
  | { readonly kind: "exchange"; readonly bytes: number }
  /** RST at the first byte. */
  | { readonly kind: "reset_on_data" }
  /** An HTTP server of one answer, which says whom it sees. */
  | { readonly kind: "http" }
  /** Accepts, and never reads. */
  | { readonly kind: "stalled" }
  /** Only tells the test what comes, and does what the test says. */
  | { readonly kind: "told" };

export type Command =
  | {
      readonly do: "listen";
      readonly id: string;
      readonly ip: string;
      readonly port: number;
      readonly behaviour: Behaviour;
    }
  | {
      readonly do: "connect";
      readonly id: string;
      readonly to: string;
      readonly port: number;
      /** The source address; null lets the kernel choose. */
      readonly from: string | null;
      /** To exchange with a server that does; 0 for a conversation by hand. */
      readonly bytes: number;
      /** What comes is hashed rather than told. */
      readonly readToEnd: boolean;
    }
  | {
      readonly do: "hold";
      readonly id: string;
      readonly to: string;
      readonly port: number;
      readonly from: string | null;
      readonly count: number;
      /** How many are being opened at one time. */
      readonly lanes: number;
    }
  | { readonly do: "count"; readonly id: string }
  | { readonly do: "send"; readonly id: string; readonly text: string }
  | { readonly do: "end" | "reset"; readonly id: string };

export interface Held {
  readonly open: number;
  readonly failed: number;
  /** Of those that were open. */
  readonly closed: number;
  /** Of those that were closed, by RST. */
  readonly reset: number;
}

/** `on` is the id of a listener, of a connection, or of the n-th connection of a listener, `id/n`. */
export type Told = { readonly on: string } & (
  | { readonly event: "open" }
  | { readonly event: "failed"; readonly reason: string }
  | { readonly event: "accepted"; readonly seen: string }
  | { readonly event: "data"; readonly text: string }
  | { readonly event: "sent" | "received"; readonly bytes: number; readonly digest: string }
  | { readonly event: "end" }
  | { readonly event: "close"; readonly reset: boolean }
  | ({ readonly event: "held" } & Held)
);
