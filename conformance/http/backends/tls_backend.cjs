// A server outside the mesh: says over TLS what it saw. Run by Node: port, address, certificate, key, and roots when it wants to know its clients.
const fs = require("node:fs");
const https = require("node:https");
const [port, address, cert, key, roots] = process.argv.slice(2);
const options = { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
if (roots !== undefined) Object.assign(options, { ca: fs.readFileSync(roots), requestCert: true, rejectUnauthorized: true });
https
  .createServer(options, (request, response) => {
    const name = roots === undefined ? "" : ` ${request.socket.getPeerCertificate().subject.CN}`;
    response.end(`${request.url} ${request.socket.servername}${name}`);
  })
  .listen(Number(port), address, () => console.log("ready"));
