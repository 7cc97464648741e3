/** The backend of the demo: an ordinary HTTP server that knows nothing of any mesh. `application.ts PORT CREDENTIAL [VERSION [STATUS]]`. */

const [port = "", credential = "", version = "", answer = "200"] = process.argv.slice(2);

/** A line every 50 ms, for as long as there is a listener. */
function ticks(): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setInterval> | undefined;
  return new ReadableStream({
    start(controller) {
      timer = setInterval(() => controller.enqueue(new TextEncoder().encode("tick\n")), 50);
    },
    cancel() {
      clearInterval(timer);
    },
  });
}

Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  idleTimeout: 0,
  fetch(request) {
    if (request.headers.get("authorization") !== credential)
      return new Response("who are you?\n", { status: 401 });
    if (new URL(request.url).pathname === "/ticks") return new Response(ticks());
    return new Response(version === "" ? "the order book\n" : `the order book, ${version}\n`, {
      status: Number(answer),
    });
  },
});
console.log("listening");
