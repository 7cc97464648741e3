import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { describeFailure, isTransient } from "./unary_caller.ts";

const said = (thrown: unknown): readonly [code: string, message: string, again: boolean] => {
  const error = describeFailure(thrown, "the join token", ". Make a new one");
  return [error.code, error.message, isTransient(error)];
};

test("a refusal says what to do and is not asked again; a failure of the server's own is", () => {
  expect(said(new GrpcError(grpcCode.permissionDenied, "no"))).toEqual([
    "control_refused",
    "the control plane refused the join token (PERMISSION_DENIED: no). Make a new one",
    false,
  ]);
  expect(said(new GrpcError(grpcCode.unavailable, ""))).toEqual([
    "control_unavailable",
    "the control plane failed at the join token (UNAVAILABLE)",
    true,
  ]);
});

test("what is no answer keeps its own word, and is asked again where that may help", () => {
  const fault = (code: MeshError["code"]) => new MeshError(code, "upstream", "so it was");
  expect(said(fault("connect_refused"))).toEqual(["connect_refused", "so it was", true]);
  expect(said(fault("certificate_untrusted"))).toEqual(["certificate_untrusted", "so it was", false]);
  expect(said(new TypeError("x"))[0]).toBe("control_unavailable");
});
