/** The commands of the pages that introduce: kinds of documents, editors. */
import type { Step } from "./steps.ts";

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
