/** A listener that every worker of a node has: what is accepted here may go on to another, and what others have accepted comes here. */
import { MeshError } from "../../../base/errors.ts";
import type { ListenOptions } from "../../host.ts";
import { type NativeEvents, type NativeSocket, nativeDescriptor, type SocketContext } from "../native.ts";
import { BunSocket } from "../socket.ts";

/** Not in Bun's published types: a connected descriptor that Bun takes over. */
type ConnectDescriptor = (options: {
  readonly fd: number;
  readonly allowHalfOpen: boolean;
  readonly socket: Bun.SocketHandler<NativeEvents>;
}) => Promise<unknown>;

export interface SharedListener {
  /** In place of those that were given. */
  readonly callbacks: Bun.SocketHandler<NativeEvents>;
  close(): void;
}

/** @param own makes a connection of what comes, wherever it was accepted. @returns null where there are no other workers. */
export function openShare(
  { passing, linux, descriptorCeiling }: SocketContext,
  name: string,
  { tls, onRefused }: ListenOptions,
  own: Bun.SocketHandler<NativeEvents>,
): SharedListener | null {
  if (passing === null || linux === null) return null;
  const open = (native: NativeSocket): void => void own.open?.(native);
  const adopt = (fd: number, giveUp: () => void): void => {
    if (fd >= descriptorCeiling) {
      linux.close(fd);
      giveUp();
      onRefused?.(new MeshError("descriptors_exhausted", "local", "no descriptor left for a connection"));
      return;
    }
    const callbacks: Bun.SocketHandler<NativeEvents> = {
      ...counted,
      open(native) {
        open(native);
        if (!(native.data instanceof BunSocket)) giveUp();
      },
      connectError() {},
    };
    (Bun.connect as unknown as ConnectDescriptor)({ fd, allowHalfOpen: true, socket: callbacks }).catch(
      () => {
        linux.close(fd);
        giveUp();
      },
    );
  };
  const share = passing.share(name, tls === true ? "tunnel" : "connection", adopt);
  const counted: Bun.SocketHandler<NativeEvents> = {
    ...own,
    close(native, error) {
      own.close?.(native, error);
      if (native.data instanceof BunSocket) share.release(native.data.remote.ip);
    },
  };
  const callbacks: Bun.SocketHandler<NativeEvents> = {
    ...counted,
    open(native) {
      const source = linux.remoteAddress(nativeDescriptor(native))?.ip;
      if (source === undefined) return void native.terminate();
      // Another process has the connection, so that closing this descriptor says nothing to the peer.
      if (share.passOn(nativeDescriptor(native), source)) return void native.close();
      open(native);
      if (!(native.data instanceof BunSocket)) share.release(source);
    },
  };
  return { callbacks, close: () => share.close() };
}
