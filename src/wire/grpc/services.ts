/** Every method that is spoken here, as server or client. */

import { AggregatedDiscoveryService } from "../messages/envoy_discovery.gen.ts";
import { SecretDiscoveryService } from "../messages/envoy_sds.gen.ts";
import { JoinService } from "../messages/fairlead.gen.ts";
import { Health } from "../messages/grpc_health.gen.ts";
import { IstioCertificateService } from "../messages/istio_citadel.gen.ts";
import { SpiffeWorkloadAPI } from "../messages/spiffe_workload.gen.ts";
import { deltaRequestCodec } from "./delta_request.ts";
import { describeMethod } from "./method.ts";

/** `envoy.service.discovery.v3.AggregatedDiscoveryService`; both stream both ways. */
export const aggregatedDiscovery = {
  stream: describeMethod(AggregatedDiscoveryService.method.streamAggregatedResources),
  delta: {
    ...describeMethod(AggregatedDiscoveryService.method.deltaAggregatedResources),
    request: deltaRequestCodec,
  },
} as const;

/** `envoy.service.secret.v3.SecretDiscoveryService`; `fetch` is unary. */
export const secretDiscovery = {
  stream: describeMethod(SecretDiscoveryService.method.streamSecrets),
  delta: describeMethod(SecretDiscoveryService.method.deltaSecrets),
  fetch: describeMethod(SecretDiscoveryService.method.fetchSecrets),
} as const;

/** `istio.v1.auth.IstioCertificateService`; unary. */
export const istioCertificate = {
  createCertificate: describeMethod(IstioCertificateService.method.createCertificate),
} as const;

/** `fairlead.v1.JoinService`; unary. */
export const join = {
  join: describeMethod(JoinService.method.join),
  renew: describeMethod(JoinService.method.renew),
} as const;

/** `SpiffeWorkloadAPI`; the fetches of X.509 and of bundles stream their answers, what concerns JWT-SVIDs is unary. */
export const spiffeWorkload = {
  fetchX509Svid: describeMethod(SpiffeWorkloadAPI.method.fetchX509SVID),
  fetchX509Bundles: describeMethod(SpiffeWorkloadAPI.method.fetchX509Bundles),
  fetchJwtSvid: describeMethod(SpiffeWorkloadAPI.method.fetchJWTSVID),
  fetchJwtBundles: describeMethod(SpiffeWorkloadAPI.method.fetchJWTBundles),
  validateJwtSvid: describeMethod(SpiffeWorkloadAPI.method.validateJWTSVID),
} as const;

/** `grpc.health.v1.Health`; `watch` streams its answers. */
export const health = {
  check: describeMethod(Health.method.check),
  watch: describeMethod(Health.method.watch),
} as const;
