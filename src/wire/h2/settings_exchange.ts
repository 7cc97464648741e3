import { assert } from "../../base/assert.ts";
import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import { defaultWindowBytes, maxWindowBytes } from "./frame.ts";
import { applySettings, encodeSettings, type H2Settings, headerTableSizes } from "./settings.ts";

/** SETTINGS both ways and their acknowledgement (RFC 9113 §6.5.3). */
export class SettingsExchange {
  readonly #state: ConnectionState;
  /** Sent and not acknowledged, oldest first. */
  readonly #outstanding: H2Settings[] = [];
  /** When the oldest of them is overdue, monotonic milliseconds; null when none is out. */
  deadlineMs: number | null = null;

  constructor(state: ConnectionState) {
    this.#state = state;
  }

  /** The first SETTINGS, with the connection's own window right behind (RFC 9113 §3.4, §6.9.2). */
  begin(enableConnectProtocol: boolean): void {
    const { limits, role, output } = this.#state;
    this.send({
      headerTableBytes: limits.headerTableBytes,
      enablePush: role === "server",
      maxConcurrentStreams: role === "server" ? limits.maxConcurrentStreams : Number.POSITIVE_INFINITY,
      initialWindowBytes: limits.streamWindowBytes,
      maxFrameBytes: limits.maxFrameBytes,
      maxHeaderListBytes: limits.maxHeaderListBytes,
      enableConnectProtocol,
    });
    // There is no way to make it smaller than the RFC's default.
    const increment = limits.connectionWindowBytes - defaultWindowBytes;
    if (increment > 0) output.windowUpdate(0, increment);
  }

  /** A larger MAX_FRAME_SIZE may be used before its acknowledgement reaches us. */
  get pendingMaxFrameBytes(): number {
    let bytes = 0;
    for (const settings of this.#outstanding) bytes = Math.max(bytes, settings.maxFrameBytes);
    return bytes;
  }

  send(settings: H2Settings): void {
    const { maxOutstandingSettings } = this.#state.limits;
    assert(this.#outstanding.length < maxOutstandingSettings, "too many SETTINGS without acknowledgement");
    this.#state.output.settings(encodeSettings(settings, this.#state.announcedSettings, this.#state.role));
    this.#outstanding.push(settings);
    this.#state.announcedSettings = settings;
    this.deadlineMs ??= this.#state.now + this.#state.limits.settingsAckTimeoutMs;
    const { localSettings } = this.#state;
    // Whatever allows more is in force at once: the peer may act on it before its acknowledgement reaches us.
    this.#useLocal({
      ...localSettings,
      headerTableBytes: Math.max(localSettings.headerTableBytes, settings.headerTableBytes),
      initialWindowBytes: Math.max(localSettings.initialWindowBytes, settings.initialWindowBytes),
      enableConnectProtocol: localSettings.enableConnectProtocol || settings.enableConnectProtocol,
    });
  }

  onAck(): void {
    const settings = this.#outstanding.shift();
    // An acknowledgement of nothing changes nothing, but it is a frame for free.
    if (settings === undefined) {
      this.#state.charge("settings");
      return;
    }
    this.deadlineMs =
      this.#outstanding.length === 0 ? null : this.#state.now + this.#state.limits.settingsAckTimeoutMs;
    this.#useLocal(settings);
  }

  #useLocal(settings: H2Settings): void {
    const state = this.#state;
    const before = state.localSettings;
    state.localSettings = settings;
    if (settings.headerTableBytes !== before.headerTableBytes) {
      state.decoder.setAllowedTableBytes(settings.headerTableBytes);
    }
    if (settings.initialWindowBytes === before.initialWindowBytes) return;
    for (const stream of state.streams.values()) {
      const increment = stream.receiveWindow.resize(settings.initialWindowBytes);
      if (increment > 0 && !stream.remoteEnded) state.output.windowUpdate(stream.id, increment);
    }
  }

  onRemote(source: Uint8Array, from: number, to: number): void {
    const state = this.#state;
    if (!state.charge("settings")) return;
    const sender = state.role === "client" ? "server" : "client";
    const before = state.remoteSettings;
    const settings = applySettings(before, source, from, to, sender);
    if ("errorCode" in settings) {
      state.fail(settings.errorCode, settings.message);
      return;
    }
    state.remoteSettings = settings;
    state.remoteSettingsSeen = true;
    // One by one: a table that was made smaller in between is emptied, and the next block has to say so (RFC 7541 §4.2).
    for (const bytes of headerTableSizes(source, from, to)) state.encoder.setPeerTableBytes(bytes);
    state.scheduler.maxFrameBytes = settings.maxFrameBytes;
    if (!this.#moveSendWindows(settings.initialWindowBytes - before.initialWindowBytes)) return;
    state.output.provokedFrames++;
    state.output.settingsAck();
    state.events.onRemoteSettings?.(settings);
  }

  /** RFC 9113 §6.9.2: open streams move by the difference, below zero too. */
  #moveSendWindows(difference: number): boolean {
    const state = this.#state;
    if (difference === 0) return true;
    for (const stream of state.streams.values()) {
      stream.sendWindowBytes += difference;
      if (stream.sendWindowBytes > maxWindowBytes) {
        state.fail(h2ErrorCode.flowControlError, "a stream window above 2^31-1 by SETTINGS");
        return false;
      }
      state.scheduler.update(stream);
    }
    return true;
  }
}
