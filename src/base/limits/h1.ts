/** The bounds of HTTP/1.1 heads (RFC 9112). Each is reached by a test. */
export const h1Limits = {
  /** Start line and header lines of a request to our HTTP CONNECT proxy; longer is refused with 431. */
  connectHeadBytes: 8 * 1024,
  /** Start line and header lines of a message through the waypoint; Envoy's `max_request_headers_kb` is 60. */
  messageHeadBytes: 64 * 1024,
  /** Interim answers (1xx) before one answer. */
  maxInterim: 64,
  /** Trailers of one message. */
  trailerBytes: 16 * 1024,
  /** A chunk's size and its extensions, which are dropped. */
  chunkLineBytes: 512,
  /** Header lines of one head. nginx and Envoy take 100. */
  maxFields: 128,
  /** Digits of a chunk's size: 16^12 bytes are more than anybody sends, and fewer than a number holds exactly. */
  chunkSizeDigits: 12,
  /** Digits of a Content-Length, for the same reason. */
  lengthDigits: 15,
} as const;
