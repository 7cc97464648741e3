// Answers every request with what it saw of it, and keeps a line of each for GET /__log__. Run by Node.
const http = require("node:http");
const lines = [];
const server = http.createServer((request, response) => {
  if (request.url === "/__log__") {
    response.end(lines.splice(0).join("\n"));
    return;
  }
  let length = 0;
  request.on("data", (piece) => {
    length += piece.length;
  });
  request.on("end", () => {
    const line = `${request.method} ${request.url} ${request.headers.host} ${length}`;
    lines.push(line);
    response.setHeader("content-length", Buffer.byteLength(line));
    response.end(line);
  });
});
server.on("clientError", (error, socket) => {
  lines.push(`refused ${error.code}`);
  socket.destroy();
});
server.listen(Number(process.argv[2]), process.argv[3], () => console.log("ready"));
