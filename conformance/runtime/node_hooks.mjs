/** For Node: `bun:test` is ours, and `expect` is the one that was installed for it. */
import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const here = import.meta.dirname;
const modules = process.env.RUNTIME_MODULES;
registerHooks({
  resolve(specifier, context, next) {
    if (specifier === "bun:test")
      return { url: pathToFileURL(join(here, "bun_test.ts")).href, shortCircuit: true };
    if (specifier === "expect")
      return next(specifier, { ...context, parentURL: pathToFileURL(join(modules, "x.mjs")).href });
    return next(specifier, context);
  },
});
