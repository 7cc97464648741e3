/** `bun datagrams.ts serve IP PORT…` answers each datagram with its text; `bun datagrams.ts ask FROM TO PORT` says one, and prints the answer. */

const [mode, first = "", ...rest] = process.argv.slice(2);

if (mode === "serve") {
  for (const port of rest)
    await Bun.udpSocket({
      hostname: first,
      port: Number(port),
      socket: { data: (socket, data, from, ip) => void socket.send(data, from, ip) },
    });
  console.log("listening");
} else {
  const [to = "", port = "0"] = rest;
  const hostname = to.includes(":") ? "::" : "0.0.0.0";
  const socket = await Bun.udpSocket({
    hostname,
    port: Number(first),
    socket: {
      data(_, data) {
        console.log(data.toString());
        process.exit(0);
      },
    },
  });
  // What is lost on the way is said again; who is not answered at all is ended by the caller.
  const say = (): void => void socket.send("hello", Number(port), to);
  say();
  setInterval(say, 500);
}

export {};
