/** To be imported before anything else: what runs for long may begin once more here. */
import { keepFreedPages } from "../../host/bun/released_memory.ts";

keepFreedPages(["up", "node", "control"], ["up", "node"]);
