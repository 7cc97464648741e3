/** The Python of the peers with what the xDS suites' clients and servers are made of. */
import type { Found } from "../peer/lab/tools.ts";
import { findPythonWithGrpc } from "./certificates.ts";

const protobuf = "protobuf==7.36.2";

/** With grpcio, cryptography, h2 and protobuf; made with pip when it is not there. */
export function findPythonWithProtobuf(): Found {
  const python = findPythonWithGrpc();
  if ("missing" in python) return python;
  const has = (): boolean =>
    Bun.spawnSync([python.path, "-c", "import google.protobuf.message_factory"]).exitCode === 0;
  if (!has()) Bun.spawnSync([python.path, "-m", "pip", "install", "-q", protobuf]);
  return has() ? python : { missing: `python with ${protobuf}` };
}
