/** One call to the control plane, and what its failures mean to whoever runs this host. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import type { MethodDescription } from "../../wire/grpc/method.ts";
import { GrpcError, grpcCode, grpcCodeName } from "../../wire/grpc/status.ts";

/** A connection to one server, with this host's credentials. */
export interface UnaryCaller {
  /** @throws GrpcError what the server said; MeshError what kept it from being asked. */
  unary<Req, Res>(method: MethodDescription<Req, Res>, request: Req): Promise<Res>;
}

/** @param advice what to do about a refusal; continues the sentence. */
export function describeFailure(thrown: unknown, what: string, advice: string): MeshError {
  if (!(thrown instanceof GrpcError)) return asMeshError(thrown, "control_unavailable", "upstream");
  const said = `${grpcCodeName(thrown.code)}${thrown.message === "" ? "" : `: ${thrown.message}`}`;
  switch (thrown.code) {
    case grpcCode.unauthenticated:
    case grpcCode.permissionDenied:
    case grpcCode.failedPrecondition:
    case grpcCode.invalidArgument:
    case grpcCode.alreadyExists:
    case grpcCode.notFound:
    case grpcCode.unimplemented:
      return new MeshError(
        "control_refused",
        "upstream",
        `the control plane refused ${what} (${said})${advice}`,
        {
          cause: thrown,
        },
      );
    default:
      return new MeshError(
        "control_unavailable",
        "upstream",
        `the control plane failed at ${what} (${said})`,
        {
          cause: thrown,
        },
      );
  }
}

/** Whether asking again later may help, without anybody doing anything. */
export function isTransient(error: MeshError): boolean {
  switch (error.code) {
    case "control_unavailable":
    case "connect_refused":
    case "connect_timeout":
    case "connect_unreachable":
    case "connection_reset":
    case "connection_closed":
    case "name_not_found":
    case "h2_refused":
    case "h2_reset":
    case "h2_keepalive_timeout":
    case "idle_timeout":
    case "draining":
      return true;
    default:
      return false;
  }
}
