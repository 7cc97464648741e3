import { h2ErrorCode } from "./error_code.ts";
import {
  defaultWindowBytes,
  maximumMaxFrameBytes,
  maxWindowBytes,
  minimumMaxFrameBytes,
  readUint32,
  writeUint32,
} from "./frame.ts";

/** SETTINGS of one side (RFC 9113 §6.5.2, RFC 8441 §3). */
export interface H2Settings {
  readonly headerTableBytes: number;
  readonly enablePush: boolean;
  /** Infinity when the side has not said. */
  readonly maxConcurrentStreams: number;
  readonly initialWindowBytes: number;
  readonly maxFrameBytes: number;
  /** Infinity when the side has not said. */
  readonly maxHeaderListBytes: number;
  readonly enableConnectProtocol: boolean;
}

/** In force before any SETTINGS frame. */
export const defaultSettings: H2Settings = {
  headerTableBytes: 4096,
  enablePush: true,
  maxConcurrentStreams: Number.POSITIVE_INFINITY,
  initialWindowBytes: defaultWindowBytes,
  maxFrameBytes: minimumMaxFrameBytes,
  maxHeaderListBytes: Number.POSITIVE_INFINITY,
  enableConnectProtocol: false,
};

const identifier = {
  headerTableSize: 0x1,
  enablePush: 0x2,
  maxConcurrentStreams: 0x3,
  initialWindowSize: 0x4,
  maxFrameSize: 0x5,
  maxHeaderListSize: 0x6,
  enableConnectProtocol: 0x8,
} as const;

export const settingBytes = 6;

/** A SETTINGS payload that breaks the RFC, with the connection error it asks for. */
export interface SettingsError {
  readonly errorCode: number;
  readonly message: string;
}

/**
 * Applies the entries of `source[from, to)`, in order, to `current`. The length is a multiple of six.
 *
 * @param sender who sent them: a server must not enable push (RFC 9113 §6.5.2).
 */
export function applySettings(
  current: H2Settings,
  source: Uint8Array,
  from: number,
  to: number,
  sender: "client" | "server",
): H2Settings | SettingsError {
  const next = { ...current };
  for (let at = from; at + settingBytes <= to; at += settingBytes) {
    const error = applyOne(
      next,
      ((source[at] ?? 0) << 8) | (source[at + 1] ?? 0),
      readUint32(source, at + 2),
      sender,
    );
    if (error !== null) return error;
  }
  return next;
}

/** Every SETTINGS_HEADER_TABLE_SIZE of a payload, in its order (RFC 9113 §6.5.3). */
export function headerTableSizes(source: Uint8Array, from: number, to: number): readonly number[] {
  const sizes: number[] = [];
  for (let at = from; at + settingBytes <= to; at += settingBytes)
    if ((((source[at] ?? 0) << 8) | (source[at + 1] ?? 0)) === identifier.headerTableSize)
      sizes.push(readUint32(source, at + 2));
  return sizes;
}

type Draft = { -readonly [K in keyof H2Settings]: H2Settings[K] };

function applyOne(next: Draft, id: number, value: number, sender: "client" | "server"): SettingsError | null {
  switch (id) {
    case identifier.headerTableSize:
      next.headerTableBytes = value;
      return null;
    case identifier.enablePush:
      if (value > 1) return protocolError("ENABLE_PUSH is neither 0 nor 1");
      if (value === 1 && sender === "server") return protocolError("ENABLE_PUSH from a server");
      next.enablePush = value === 1;
      return null;
    case identifier.maxConcurrentStreams:
      next.maxConcurrentStreams = value;
      return null;
    case identifier.initialWindowSize:
      if (value > maxWindowBytes) {
        return { errorCode: h2ErrorCode.flowControlError, message: "INITIAL_WINDOW_SIZE above 2^31-1" };
      }
      next.initialWindowBytes = value;
      return null;
    case identifier.maxFrameSize:
      if (value < minimumMaxFrameBytes || value > maximumMaxFrameBytes) {
        return protocolError("MAX_FRAME_SIZE out of range");
      }
      next.maxFrameBytes = value;
      return null;
    case identifier.maxHeaderListSize:
      next.maxHeaderListBytes = value;
      return null;
    case identifier.enableConnectProtocol:
      if (value > 1) return protocolError("ENABLE_CONNECT_PROTOCOL is neither 0 nor 1");
      // RFC 8441 §3: never back to 0.
      if (value === 0 && next.enableConnectProtocol)
        return protocolError("ENABLE_CONNECT_PROTOCOL taken back");
      next.enableConnectProtocol = value === 1;
      return null;
    default:
      // Unknown settings are ignored (RFC 9113 §6.5.2).
      return null;
  }
}

function protocolError(message: string): SettingsError {
  return { errorCode: h2ErrorCode.protocolError, message };
}

/** The payload that says how `settings` differ from `base`. ENABLE_PUSH is the client's alone to send (RFC 9113 §6.5.2). */
export function encodeSettings(
  settings: H2Settings,
  base: H2Settings,
  sender: "client" | "server",
): Uint8Array {
  const pairs: number[] = [];
  const push = (id: number, value: number, before: number): void => {
    if (value !== before && Number.isFinite(value)) pairs.push(id, value);
  };
  push(identifier.headerTableSize, settings.headerTableBytes, base.headerTableBytes);
  if (sender === "client") push(identifier.enablePush, Number(settings.enablePush), Number(base.enablePush));
  push(identifier.maxConcurrentStreams, settings.maxConcurrentStreams, base.maxConcurrentStreams);
  push(identifier.initialWindowSize, settings.initialWindowBytes, base.initialWindowBytes);
  push(identifier.maxFrameSize, settings.maxFrameBytes, base.maxFrameBytes);
  push(identifier.maxHeaderListSize, settings.maxHeaderListBytes, base.maxHeaderListBytes);
  push(
    identifier.enableConnectProtocol,
    Number(settings.enableConnectProtocol),
    Number(base.enableConnectProtocol),
  );
  const bytes = new Uint8Array((pairs.length / 2) * settingBytes);
  for (let i = 0; i < pairs.length; i += 2) {
    const at = (i / 2) * settingBytes;
    bytes[at + 1] = pairs[i] ?? 0;
    writeUint32(bytes, at + 2, pairs[i + 1] ?? 0);
  }
  return bytes;
}
