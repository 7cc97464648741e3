/** Which bounds of `src/base/limits/` are named in no test: nothing would notice that such a bound is gone. */
import type { SourceFile } from "./tidy_rules.ts";

/** What can be filled: a number of things, or their size. Times, shares and rates are not. */
const isBound = (name: string): boolean => /^max[A-Z]|(?:Bytes|Chars|Digits|Items|Length)$/.test(name);

/** `meshLimits.maxLabels` of each bound, in the order of the files. */
export function boundsOf(limits: readonly SourceFile[]): readonly string[] {
  return limits.flatMap(({ text }) =>
    [...text.matchAll(/^export const (\w+) = \{\n(.*?)^\}/gms)].flatMap(([, table = "", fields = ""]) =>
      [...fields.matchAll(/^ {2}(\w+):/gm)]
        .map(([, name = ""]) => name)
        .filter(isBound)
        .map((name) => `${table}.${name}`),
    ),
  );
}

/** Bounds whose name is in none of the tests, nor in what only tests use. */
export function untestedBounds(
  limits: readonly SourceFile[],
  tests: readonly SourceFile[],
): readonly string[] {
  const words = new Set(tests.flatMap(({ text }) => text.match(/\w+/g) ?? []));
  return boundsOf(limits).filter((bound) => !words.has(bound.slice(bound.indexOf(".") + 1)));
}

/** Those that no test named when this was first looked at. The list gets shorter: a new bound has a test at it and one past it. */
export const untestedSoFar: ReadonlySet<string> = new Set([
  "adminLimits.maxSeriesPerMetric",
  "joinLimits.maxResources",
  "joinLimits.maxSnapshotBytes",
  "workloadApiLimits.maxAuditKeys",
  "workloadApiLimits.maxIdentityRules",
  "witnessLimits.maxHeads",
  "witnessLimits.maxConflicts",
  "authLimits.maxRuleItems",
  "authLimits.maxInlineKeySetChars",
  "authLimits.maxConditions",
  "authLimits.maxAuthorizers",
  "authLimits.maxAuthorizerAnswerBytes",
  "authLimits.maxTokensPerRequest",
  "authLimits.maxVerifiedTokens",
  "authLimits.maxVerifiedTokenChars",
  "authLimits.maxRealmChars",
  "identityLimits.maxRefusedChains",
  "identityLimits.maxKnownTokens",
  "identityLimits.maxAuditDetailChars",
  "rotationLimits.maxRememberedBundles",
  "stateLimits.maxDatabaseBytes",
  "stateLimits.reservedDatabaseBytes",
  "stateLimits.reservedDiskBytes",
  "stateLimits.maxDocumentTextBytes",
  "stateLimits.auditRetentionBytes",
  "stateLimits.maxSnapshotLogBytes",
  "stateLimits.maxQuickCheckBytes",
  "stateLimits.maxIdleLogBytes",
  "stateLimits.archivePageChars",
  "stateLimits.maxFrozenBytes",
  "auditLimits.maxDigests",
  "auditLimits.maxHeads",
  "auditLimits.maxKnownHeads",
  "auditExportLimits.maxOtlpAnswerBytes",
  "auditExportLimits.maxOtlpHeaders",
  "auditExportLimits.maxSyslogBytes",
  "auditExportLimits.maxWaitFactor",
  "controlAdminLimits.maxHeldSmallBodyBytes",
  "controlAdminLimits.minBodyChunkBytes",
  "controlAdminLimits.maxScanned",
  "controlAdminLimits.maxNamed",
  "controlAdminLimits.maxAdministratorBytes",
  "controlAdminLimits.maxReasonLength",
  "controlLimits.maxTokenIssuers",
  "controlLimits.maxHostRetentionMs",
  "doorLimits.maxAsked",
  "h1Limits.chunkSizeDigits",
  "h2Limits.lowWaterBytes",
  "h2Limits.quantumBytes",
  "h2Limits.copyBelowBytes",
  "h2Limits.tinyDataBytes",
  "h2Limits.maxOutstandingSettings",
  "hostLimits.httpRequestBodyBytes",
  "hostLimits.maxWatchedEntries",
  "hostLimits.maxTornLineBytes",
  "meshLimits.maxTokensPerDocument",
  "meshLimits.maxNodesPerDocument",
  "meshLimits.maxSourceChars",
  "meshLimits.maxErrorsTold",
  "meshLimits.maxAddressLength",
  "middlewareLimits.maxOrder",
  "middlewareLimits.maxConfigEntries",
  "patternLimits.maxRepeat",
  "patternLimits.maxStates",
  "pkiLimits.maxSignatureChecks",
  "policyLimits.maxDenialNameChars",
  "adsLimits.maxRememberedChanges",
  "grpcLimits.maxAssembledBytesPerConnection",
  "grpcLimits.maxAssembledBytesPerAddress",
  "grpcLimits.maxHandlersPerConnection",
  "grpcLimits.maxHandlersPerAddress",
  "grpcLimits.maxTimeoutMs",
  "grpcLimits.channelStreamWindowBytes",
  "grpcLimits.channelConnectionWindowBytes",
  "grpcLimits.maxAddresses",
  "servingLimits.detectBytes",
  "servingLimits.maxHelloBytes",
  "servingLimits.maxIdleUpstreams",
  "servingLimits.joinedBytes",
  "waypointLimits.maxRingSize",
  "waypointLimits.maxMaglevTableSize",
  "waypointLimits.maxHostStates",
  "waypointLimits.maxCollectorAnswerBytes",
  "waypointLimits.maxEjectionMs",
]);
