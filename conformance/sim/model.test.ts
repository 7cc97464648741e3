/** The oracle says by itself what the documents mean; here it is compared with the program, so that neither can drift alone. */
import { expect, test } from "bun:test";
import { SeededRandom } from "../../src/host/memory/random.ts";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import { MeshStore } from "../../src/mesh/store/store.ts";
import { createReferenceEngine } from "../../src/policy/reference.ts";
import { address } from "./address.ts";
import { drawPolicy, type MeshState, renderDocuments } from "./documents.ts";
import { MeshModel, type Question } from "./model.ts";
import { drawPlan, type Plan } from "./plan.ts";
import { bannerPort, outsiderAddress, serverPort, trustDomain } from "./workloads.ts";

const context = { trustDomain, clusterId: "sim", rootNamespace: "istio-system", network: "" } as const;

function askProgram(state: MeshState, plan: Plan): (question: Question) => boolean {
  const files = renderDocuments(state, plan.workloads);
  const { workloads, services, policies } = convertDocuments(parseDocuments(files).documents, context);
  const store = new MeshStore();
  store.apply({
    workloads: { upsert: workloads },
    services: { upsert: services },
    policies: { upsert: policies },
  });
  const engine = createReferenceEngine({ missingPolicy: "deny" });
  engine.update(store.policies());
  return (question) => {
    const workload = store.workloadByAddress("", question.destinationIp);
    return workload !== null && engine.decide(workload, question).allowed;
  };
}

function questions({ workloads }: Plan): readonly Question[] {
  const callers = [
    ...workloads.map(({ address: ip, namespace, name }) => ({
      ip,
      id: new SpiffeId(trustDomain, namespace, name),
    })),
    ...workloads.map(({ address: ip }) => ({ ip, id: null })),
    { ip: outsiderAddress, id: null },
  ];
  return callers.flatMap(({ ip, id }) =>
    workloads.flatMap((destination) =>
      [serverPort, bannerPort].map((destinationPort) => ({
        sourceIp: address(ip, 0).ip,
        sourceIdentity: id,
        destinationIp: address(destination.address, 0).ip,
        destinationPort,
      })),
    ),
  );
}

test("the oracle and the program say the same of what the documents mean", () => {
  let denied = 0;
  let asked = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const plan = drawPlan(seed);
    const random = new SeededRandom(seed, "model");
    const state: MeshState = {
      policies: new Map(plan.workloads.map(({ name }) => [name, drawPolicy(random, plan.workloads)])),
      strict: plan.state.strict,
      removed: new Set(plan.workloads.filter(() => random.chance(0.1)).map(({ name }) => name)),
      bad: plan.faults.flatMap(({ action }) => (action.kind === "bad_document" ? action.text : []))[0] ?? "",
    };
    const model = new MeshModel(plan.workloads);
    model.change(0, state);
    const program = askProgram(state, plan);
    for (const question of questions(plan)) {
      const allowed = model.everAllowed(question, 0, 1);
      expect(`seed ${seed} ${JSON.stringify(question)}: ${allowed}`).toBe(
        `seed ${seed} ${JSON.stringify(question)}: ${program(question)}`,
      );
      asked++;
      if (!allowed) denied++;
    }
  }
  expect(asked).toBeGreaterThan(2_000);
  expect(denied).toBeGreaterThan(asked / 10);
  expect(denied).toBeLessThan(asked * 0.9);
}, 300_000);
