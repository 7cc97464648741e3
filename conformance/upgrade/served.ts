/** The applications behind the nodes: one that sends back what comes, and one of HTTP. They know nothing of any mesh. */
import { createServer } from "node:net";

const [echoIp = "", echoPort = "", webIp = "", webPort = ""] = process.argv.slice(2);

createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
}).listen({ host: echoIp, port: Number(echoPort), backlog: 4096 });
Bun.serve({ hostname: webIp, port: Number(webPort), idleTimeout: 0, fetch: () => new Response("web\n") });
console.log("listens");
