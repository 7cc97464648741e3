/** The bounds of mesh documents. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

/** Mesh documents and the store. */
export const meshLimits = {
  /** One configuration file. A million lines of documents are more than this. */
  maxFileBytes: 8 * 1024 * 1024,
  /** One document; etcd holds Kubernetes objects to 1.5 MiB, an Istio L4 document is a few KiB. */
  maxDocumentBytes: 256 * 1024,
  maxDocumentsPerFile: 10_000,
  /** Documents of all files together. */
  maxDocuments: 100_000,
  /** Files below all configured paths together. */
  maxFiles: 10_000,
  /** Folders within folders. */
  maxFolderDepth: 16,
  /**
   * Words and signs of one document, as the YAML library cuts it: what it makes of them it makes in one turn, some 20 ms for so many.
   * Blanks and comments cost it little; three times as many are taken of all. A document of 256 KiB has about 40,000 words and signs.
   */
  maxTokensPerDocument: 48_000,
  /** Nodes of one document after its aliases are written out: what stops an alias bomb. Read in one turn, some 15 ms. */
  maxNodesPerDocument: 25_000,
  /** Aliases of one document; each is a search through it. */
  maxAliasesPerDocument: 100,
  /** Collections within collections of one document. */
  maxNodeDepth: 64,
  /** Errors told about one document; the rest are counted. */
  maxErrorsPerDocument: 20,
  /** What a text is called by who gives it; each of its documents keeps it. A path of Linux may be longer; who needs that gives a part of it. */
  maxSourceChars: 1_024,
  /** Errors told about all that is given at one time; the rest are counted. */
  maxErrorsTold: 1_000,
  /**
   * Policies that select one workload, and services that it is in: each is named with it to every node, so a thousand of the one and a thousand of
   * the other would be a million names. Istio has no bound. A ServiceEntry has 256 hosts at the most, each a service.
   */
  maxPoliciesPerWorkload: 256,
  maxServicesPerWorkload: 512,
  /** Rules of one AuthorizationPolicy; Istio's schema. */
  maxRulesPerPolicy: 512,
  /** Hosts, address ranges, nodes or networks of one Grant, and the namespaces that it is for. */
  maxGrantItems: 1_024,
  /** `from` of one rule, and `to`; Istio's schema has it for `from`. */
  maxAlternatives: 512,
  /** Hosts, addresses and ports of one ServiceEntry, each; Istio's schema. */
  maxServiceItems: 256,
  /** Endpoints of one ServiceEntry; Istio's schema. */
  maxEndpoints: 4096,
  /** Named ports of one workload; Istio's schema. */
  maxEndpointPorts: 128,
  /** Labels of one workload, of a group's entries, and of a ServiceEntry's selector; Istio's schema. */
  maxLabels: 256,
  /** Labels of a policy's selector; Istio's schema. */
  maxSelectorLabels: 4096,
  /** A workload's address, in characters; Istio's schema. */
  maxAddressLength: 256,
  /** Names of networks and localities, in characters; Istio's schema. */
  maxPlaceLength: 2048,
  /** Names of Kubernetes objects, in characters. */
  maxNameLength: 253,
  /** Tests of one PolicyTest, and callers of one test: each is a decision at every change of documents. */
  maxPolicyTests: 256,
  maxTestCallers: 64,
  /** All decisions of one namespace's tests; what is beyond is not run, and says so. */
  maxTestedCallsPerNamespace: 4_096,
  /** Of Istio's range for automatic addresses, 240.240.0.0/16, without its first and last. */
  maxVirtualAddresses: 65_534,
  /** `targetRefs` entries; Istio's schema. */
  maxTargetRefs: 16,
  /** `serviceAccounts` entries, and as many of `notServiceAccounts`; Istio's schema. */
  maxServiceAccounts: 16,
  /** How long a changed file must stay as it is before it is read as finished. */
  fileSettleMs: 50,
  /** Looks at a file that keeps changing, before its last good state is kept and the matter reported. */
  maxSettleAttempts: 40,
  /** Workloads, services and policies that one swap of the store takes, some 5 ms; a larger change is swapped in parts. */
  changesPerSwap: 1_000,
  /** Parsing gives way to connections after this long. */
  parseSliceMs: 5,
} as const;
