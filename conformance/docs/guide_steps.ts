/** The commands of the pages that introduce: kinds of documents, editors. */
import type { Step } from "./steps.ts";

const ready = (port: number) => `curl -sf http://127.0.0.1:${port}/healthz/ready`;

/** The line that a host joins by, and what is different where two machines are one. */
const joins = (line: string, host: string, more: string) =>
  `$(grep "^ *fairlead node" ${line}) --state-directory ${host} --join-address ${more}`;
const addressOf = { vm1: "10.0.0.11", vm2: "10.0.0.12" };
const portsOf = (number: number) =>
  `--admin 127.0.0.1:15${number}00 --metrics off --readiness 127.0.0.1:15${number}21`;

export const startSteps: readonly Step[] = [
  {
    line: "fairlead control --serving-name 10.0.0.11 --state-directory control",
    before: "page-documents mesh/mesh.yaml mesh/policy.yaml",
    instead: `ip addr add ${addressOf.vm1}/32 dev lo; ip addr add ${addressOf.vm2}/32 dev lo; fairlead control --serving-name 10.0.0.11 --control-listen 10.0.0.11:15012 --state-directory control`,
    until: ready(15021),
  },
  { line: "export FAIRLEAD_CONTROL=https://10.0.0.11:15012 FAIRLEAD_IDENTITY=control/admin.pem" },
  { line: "fairlead validate mesh/", says: /^valid: 5 documents/m },
  { line: "fairlead apply -f mesh/", instead: "fairlead apply -f mesh/ --yes" },
  {
    line: "fairlead join-token create --node vm-1",
    instead: "fairlead join-token create --node vm-1 | tee line-1",
    says: /fairlead node --control/,
  },
  {
    line: "fairlead join-token create --node vm-2",
    instead: "fairlead join-token create --node vm-2 | tee line-2",
    says: /fairlead node --control/,
  },
  {
    line: "fairlead node --control https://10.0.0.11:15012 --join-token fjt_1… --ca-pin sha256:… --map 127.0.0.1:8080=orders.shop.mesh:80",
    instead: `${joins("line-1", "vm-1", addressOf.vm1)} --map 127.0.0.1:8080=orders.shop.mesh:80 ${portsOf(1)} > vm-1.log 2>&1`,
    until: ready(15121),
  },
  {
    line: "python3 -m http.server 8081 --bind 127.0.0.1",
    until: "curl -sf http://127.0.0.1:8081/",
  },
  {
    line: "fairlead node --control https://10.0.0.11:15012 --join-token fjt_2… --ca-pin sha256:… --application 10.0.0.12:8080=127.0.0.1:8081",
    instead: `${joins("line-2", "vm-2", addressOf.vm2)} --application 10.0.0.12:8080=127.0.0.1:8081 ${portsOf(2)} > vm-2.log 2>&1`,
    until: ready(15221),
  },
  { line: "curl http://127.0.0.1:8080/", says: /Directory listing/ },
  {
    line: "curl http://10.0.0.12:8080/",
    exitCodes: [7, 52, 56],
  },
  { line: "fairlead nodes", says: /vm-1[\s\S]*vm-2/ },
  {
    line: "fairlead explain -f mesh/ --from shop/orders --to shop/web --port 80",
    says: /allowed/,
  },
  {
    line: "fairlead explain -f mesh/ --from outside --to shop/orders --port 8080",
    says: /STRICT|denied/,
    exitCodes: [1],
  },
];

/** Every document of the page. */
const allDocuments = "page-documents-joined mesh/mesh.yaml control/control.yaml";

export const kindsSteps: readonly Step[] = [
  { line: "fairlead validate mesh/ control/", before: allDocuments, says: /^valid: \d+ documents/m },
  { line: "fairlead policy test mesh/", says: /3 passed, 0 failed/ },
  {
    line: "fairlead explain -f mesh/ --from shop/web --to orders.shop.mesh --port 80",
    says: /depends on the request/,
    exitCodes: [1],
  },
];

/** The names of `docs/getting-started.md`. */
export const movingSteps: readonly Step[] = [
  {
    line: "fairlead validate mesh/",
    before: "page-documents-of docs/getting-started.md mesh/mesh.yaml mesh/policy.yaml",
    says: /^valid/m,
  },
  {
    line: "fairlead explain -f mesh/ --from shop/web --to shop/orders --port 8080",
    says: /^allowed/m,
  },
];

export const editorsSteps: readonly Step[] = [
  {
    line: "fairlead schema > fairlead.schema.json",
    instead:
      'fairlead schema > fairlead.schema.json && python3 -c \'import json; print(len(json.load(open("fairlead.schema.json"))["definitions"]))\'',
    says: /^25$/m,
  },
  {
    line: "fairlead schema AuthorizationPolicy > AuthorizationPolicy.schema.json",
    instead: "fairlead schema AuthorizationPolicy",
    says: /"title": "AuthorizationPolicy"/,
  },
];
