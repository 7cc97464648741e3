/**
 * Requests that two parsers could read differently, and a few that look so and are not. For each it is said what must come of it:
 * refused before anything reaches the application, or these requests and no others.
 */

export interface Attack {
  readonly name: string;
  readonly bytes: string;
  /** What the application must see, a line each: method, target, Host, bytes of content. `refused`: nothing, and an answer of 4xx. */
  readonly sees: "refused" | readonly string[];
}

const host = "Host: web.shop\r\n";
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.shop\r\n\r\n";

function post(lines: string, content = ""): string {
  return `POST /a HTTP/1.1\r\n${host}${lines}\r\n${content}`;
}

function refused(name: string, bytes: string): Attack {
  return { name, bytes, sees: "refused" };
}

const chunked = "Transfer-Encoding: chunked\r\n";

/** CL.TE, TE.CL, TE.TE and what is made of them. */
const framing: readonly Attack[] = [
  refused(
    "a length and chunks, the length first",
    post(`Content-Length: 6\r\n${chunked}`, `0\r\n\r\n${smuggled}`),
  ),
  refused(
    "a length and chunks, chunks first",
    post(`${chunked}Content-Length: 4\r\n`, `5c\r\n${smuggled}0\r\n\r\n`),
  ),
  refused("two lengths that differ", post("Content-Length: 0\r\nContent-Length: 42\r\n", smuggled)),
  refused("the same length twice", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")),
  refused("a list of lengths", post("Content-Length: 3, 3\r\n", "abc")),
  refused("a length with a plus", post("Content-Length: +3\r\n", "abc")),
  refused("a negative length", post("Content-Length: -3\r\n", "abc")),
  refused("a hexadecimal length", post("Content-Length: 0x3\r\n", "abc")),
  refused("a length with a decimal point", post("Content-Length: 3.0\r\n", "abc")),
  refused("a length with an exponent", post("Content-Length: 3e0\r\n", "abc")),
  refused("a length in words", post("Content-Length: three\r\n", "abc")),
  refused("an empty length", post("Content-Length:\r\n", smuggled)),
  refused("a length with a blank within", post("Content-Length: 4 4\r\n", smuggled)),
  refused("a length beyond 2^64", post("Content-Length: 18446744073709551619\r\n", "abc")),
  refused("a length with a zero byte", post("Content-Length: 3\0\r\n", "abc")),
  refused("a length with an underscore", post("Content_Length: 44\r\n", smuggled)),
  refused("a length and white space before the colon", post("Content-Length : 44\r\n", smuggled)),
  refused("a length and a tab before the colon", post("Content-Length\t: 44\r\n", smuggled)),
  refused("a length on a folded line", post("Content-Length:\r\n 44\r\n", smuggled)),
  refused("chunked twice", post(`${chunked}${chunked}`, `0\r\n\r\n${smuggled}`)),
  refused(
    "chunked twice in one line",
    post("Transfer-Encoding: chunked, chunked\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused("chunked and identity", post("Transfer-Encoding: chunked, identity\r\n", `0\r\n\r\n${smuggled}`)),
  refused(
    "identity, then chunked in another line",
    post(`Transfer-Encoding: identity\r\n${chunked}`, `0\r\n\r\n${smuggled}`),
  ),
  refused("identity and a length", post("Transfer-Encoding: identity\r\nContent-Length: 42\r\n", smuggled)),
  refused("gzip", post("Transfer-Encoding: gzip\r\n", "abc")),
  refused("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", `0\r\n\r\n${smuggled}`)),
  refused("xchunked", post("Transfer-Encoding: xchunked\r\n", `0\r\n\r\n${smuggled}`)),
  refused("chunkedx", post("Transfer-Encoding: chunkedx\r\n", `0\r\n\r\n${smuggled}`)),
  refused("chunked in quotes", post('Transfer-Encoding: "chunked"\r\n', `0\r\n\r\n${smuggled}`)),
  refused("chunked with a comma", post("Transfer-Encoding: chunked,\r\n", `0\r\n\r\n${smuggled}`)),
  refused("a comma, then chunked", post("Transfer-Encoding: ,chunked\r\n", `0\r\n\r\n${smuggled}`)),
  refused("chunked with a parameter", post("Transfer-Encoding: chunked;a=b\r\n", `0\r\n\r\n${smuggled}`)),
  refused("chunked with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", `0\r\n\r\n${smuggled}`)),
  refused("chunked with a form feed", post("Transfer-Encoding: chunked\x0c\r\n", `0\r\n\r\n${smuggled}`)),
  refused("chunked with a zero byte", post("Transfer-Encoding: chunked\0\r\n", `0\r\n\r\n${smuggled}`)),
  refused(
    "chunked with a long s, which folds to s",
    post("Transfer-Encoding: chunked\xc5\xbf\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused(
    "Transfer-Encoding and white space before the colon",
    post("Transfer-Encoding : chunked\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused(
    "Transfer-Encoding on a folded line",
    post("Transfer-Encoding:\r\n chunked\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused("Transfer_Encoding", post("Transfer_Encoding: chunked\r\n", `0\r\n\r\n${smuggled}`)),
  refused(
    "Transfer-Encoding behind a bare carriage return",
    post("X: a\rTransfer-Encoding: chunked\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused(
    "Transfer-Encoding behind a bare line feed",
    post("X: a\nTransfer-Encoding: chunked\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused(
    "Transfer-Encoding with a blank in front",
    post(" Transfer-Encoding: chunked\r\n", `0\r\n\r\n${smuggled}`),
  ),
  refused("an empty Transfer-Encoding", post("Transfer-Encoding:\r\nContent-Length: 42\r\n", smuggled)),
  refused("chunked in HTTP/1.0", `POST /a HTTP/1.0\r\n${host}${chunked}\r\n0\r\n\r\n${smuggled}`),
  refused(
    "a Connection that names Content-Length",
    post("Connection: Content-Length\r\nContent-Length: 42\r\n", smuggled),
  ),
  refused(
    "a Connection that names Transfer-Encoding",
    post(`Connection: Transfer-Encoding\r\n${chunked}`, "0\r\n\r\n"),
  ),
  refused("a Connection that names Host", `GET /a HTTP/1.1\r\n${host}Connection: Host\r\n\r\n`),
  refused(
    "a Connection that names Authorization",
    `GET /a HTTP/1.1\r\n${host}Connection: authorization\r\nAuthorization: x\r\n\r\n`,
  ),
  refused(
    "a Connection that names Cookie",
    `GET /a HTTP/1.1\r\n${host}Connection: cookie\r\nCookie: x\r\n\r\n`,
  ),
];

/** After the head was taken: the request has begun, and must not come to an end at the application as if it were whole. */
const chunks: readonly Attack[] = (
  [
    ["a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"],
    ["a size with a plus", "+3\r\nabc\r\n0\r\n\r\n"],
    ["a negative size", "-3\r\nabc\r\n0\r\n\r\n"],
    ["a size with a blank behind", "3 \r\nabc\r\n0\r\n\r\n"],
    ["a size with a blank in front", " 3\r\nabc\r\n0\r\n\r\n"],
    ["a size with a tab", "3\t\r\nabc\r\n0\r\n\r\n"],
    ["a size with an underscore", "0_3\r\nabc\r\n0\r\n\r\n"],
    ["a size beyond 2^64", "10000000000000003\r\nabc\r\n0\r\n\r\n"],
    ["a size of seventeen zeros", `${"0".repeat(17)}3\r\nabc\r\n0\r\n\r\n`],
    ["an empty size", "\r\nabc\r\n0\r\n\r\n"],
    ["a size in words", "three\r\nabc\r\n0\r\n\r\n"],
    ["a size that ends with a bare line feed", "3\nabc\r\n0\r\n\r\n"],
    ["a size that ends with a bare carriage return", "3\rabc\r\n0\r\n\r\n"],
    ["a chunk that ends with a bare line feed", "3\r\nabc\n0\r\n\r\n"],
    ["a chunk longer than its size", `2\r\nabc\r\n0\r\n\r\n`],
    ["a chunk shorter than its size", `5\r\nabc\r\n0\r\n\r\n${smuggled}`],
    ["an extension with a bare line feed", `3;a\nb\r\nabc\r\n0\r\n\r\n`],
    ["an extension with a bare carriage return", `3;a\rb\r\nabc\r\n0\r\n\r\n`],
    ["an extension that is too long", `3;${"a".repeat(10_000)}\r\nabc\r\n0\r\n\r\n`],
    ["a last chunk with a bare line feed", "3\r\nabc\r\n0\n\n"],
    ["a length among the trailers", `3\r\nabc\r\n0\r\nContent-Length: 42\r\n\r\n${smuggled}`],
    [
      "Transfer-Encoding among the trailers",
      `3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled}`,
    ],
    ["Host among the trailers", "3\r\nabc\r\n0\r\nHost: evil\r\n\r\n"],
    ["a malformed trailer", "3\r\nabc\r\n0\r\nx y\r\n\r\n"],
    ["a folded trailer", "3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n"],
  ] as const
).map(([name, content]) => refused(name, post(chunked, content)));

const lines: readonly Attack[] = [
  refused("a request line with a bare line feed", `GET /a HTTP/1.1\nHost: web.shop\r\n\r\n`),
  refused("a head of bare line feeds", `GET /a HTTP/1.1\nHost: web.shop\n\n`),
  refused("a head that ends with LF CR LF", `GET /a HTTP/1.1\r\nHost: web.shop\n\r\n`),
  refused("two blanks in the request line", `GET  /a HTTP/1.1\r\n${host}\r\n`),
  refused("a tab in the request line", `GET\t/a HTTP/1.1\r\n${host}\r\n`),
  refused("a blank at the request line's end", `GET /a HTTP/1.1 \r\n${host}\r\n`),
  refused("a blank in front of the request line", ` GET /a HTTP/1.1\r\n${host}\r\n`),
  refused("a blank in the target", `GET /a b HTTP/1.1\r\n${host}\r\n`),
  refused("another request in the target", `GET /a HTTP/1.1 /b HTTP/1.1\r\n${host}\r\n`),
  refused("a zero byte in the target", `GET /a\0b HTTP/1.1\r\n${host}\r\n`),
  refused("a byte above ASCII in the target", `GET /a\xff HTTP/1.1\r\n${host}\r\n`),
  refused("an encoded zero byte in the path", `GET /a%00b HTTP/1.1\r\n${host}\r\n`),
  refused("a fragment", `GET /a#b HTTP/1.1\r\n${host}\r\n`),
  refused("HTTP/0.9", "GET /a\r\n\r\n"),
  refused("HTTP/1.2", `GET /a HTTP/1.2\r\n${host}\r\n`),
  refused("HTTP/2.0", `GET /a HTTP/2.0\r\n${host}\r\n`),
  refused("HTTP/1.10", `GET /a HTTP/1.10\r\n${host}\r\n`),
  refused("http in lower case", `GET /a http/1.1\r\n${host}\r\n`),
  refused("a method with a bracket", `G(T /a HTTP/1.1\r\n${host}\r\n`),
  refused("no method", `/a HTTP/1.1\r\n${host}\r\n`),
  refused("an empty name", `GET /a HTTP/1.1\r\n${host}: x\r\n\r\n`),
  refused("a name with a blank", `GET /a HTTP/1.1\r\n${host}X Y: z\r\n\r\n`),
  refused("a name with a zero byte", `GET /a HTTP/1.1\r\n${host}X\0: z\r\n\r\n`),
  refused("a name with a byte above ASCII", `GET /a HTTP/1.1\r\n${host}X\xe4: z\r\n\r\n`),
  refused("a line without a colon", `GET /a HTTP/1.1\r\n${host}X\r\n\r\n`),
  refused("a value with a zero byte", `GET /a HTTP/1.1\r\n${host}X: a\0b\r\n\r\n`),
  refused("a value with an escape", `GET /a HTTP/1.1\r\n${host}X: a\x1bb\r\n\r\n`),
  refused("a value with a delete", `GET /a HTTP/1.1\r\n${host}X: a\x7fb\r\n\r\n`),
  refused("a folded line", `GET /a HTTP/1.1\r\n${host}X: a\r\n\tb\r\n\r\n`),
  refused("a first line that is folded", `GET /a HTTP/1.1\r\n\tX: y\r\n${host}\r\n`),
  refused("a head of 200 lines", `GET /a HTTP/1.1\r\n${host}${"X: y\r\n".repeat(200)}\r\n`),
  refused("a head of a megabyte", `GET /a HTTP/1.1\r\n${host}X: ${"y".repeat(1_000_000)}\r\n\r\n`),
];

const targets: readonly Attack[] = [
  refused("no Host", "GET /a HTTP/1.1\r\n\r\n"),
  refused("two Hosts", `GET /a HTTP/1.1\r\n${host}Host: evil\r\n\r\n`),
  refused("the same Host twice", `GET /a HTTP/1.1\r\n${host}${host}\r\n`),
  refused("an empty Host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n"),
  refused("a Host with a user", "GET /a HTTP/1.1\r\nHost: web.shop@evil\r\n\r\n"),
  refused("a Host with a path", "GET /a HTTP/1.1\r\nHost: web.shop/b\r\n\r\n"),
  refused("a Host with a blank", "GET /a HTTP/1.1\r\nHost: web shop\r\n\r\n"),
  refused("a Host with a port that is none", "GET /a HTTP/1.1\r\nHost: web.shop:80x\r\n\r\n"),
  refused("a list of Hosts", "GET /a HTTP/1.1\r\nHost: web.shop, evil\r\n\r\n"),
  refused("an absolute target of another host", `GET http://evil/a HTTP/1.1\r\n${host}\r\n`),
  refused("an absolute target with a user", `GET http://web.shop@evil/a HTTP/1.1\r\n${host}\r\n`),
  refused("an absolute target of https", `GET https://web.shop/a HTTP/1.1\r\n${host}\r\n`),
  refused("an absolute target of another scheme", `GET gopher://web.shop/a HTTP/1.1\r\n${host}\r\n`),
  refused("a target without a slash", `GET a HTTP/1.1\r\n${host}\r\n`),
  refused("a target of an authority", `GET web.shop:80 HTTP/1.1\r\n${host}\r\n`),
  refused("* of GET", `GET * HTTP/1.1\r\n${host}\r\n`),
  refused("CONNECT", `CONNECT web.shop:80 HTTP/1.1\r\n${host}\r\n`),
  refused(
    "an upgrade to h2c",
    `GET /a HTTP/1.1\r\n${host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n`,
  ),
  refused("an upgrade to h2c without Connection", `GET /a HTTP/1.1\r\n${host}Upgrade: h2c\r\n\r\n`),
  refused(
    "an upgrade to a list with h2c",
    `GET /a HTTP/1.1\r\n${host}Connection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n`,
  ),
  refused("HTTP2-Settings alone", `GET /a HTTP/1.1\r\n${host}HTTP2-Settings: AA\r\n\r\n`),
  refused(
    "an upgrade with content",
    `GET /a HTTP/1.1\r\n${host}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 42\r\n\r\n${smuggled}`,
  ),
  refused("another expectation", `GET /a HTTP/1.1\r\n${host}Expect: 200-ok\r\n\r\n`),
  refused("HTTP/2's preface, with another's", `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${smuggled}`),
];

/** What is odd and means one thing only: passed on, and read by the application as here. */
const harmless: readonly Attack[] = [
  {
    name: "requests ahead of their answers",
    bytes: `${post("Content-Length: 3\r\n", "abc")}GET /b HTTP/1.1\r\n${host}\r\n`,
    sees: ["POST /a web.shop 3", "GET /b web.shop 0"],
  },
  {
    name: "a chunk with an extension",
    bytes: post(chunked, '3;a="b"\r\nabc\r\n0\r\n\r\n'),
    sees: ["POST /a web.shop 3"],
  },
  {
    name: "a size in capitals with zeros in front",
    bytes: post(chunked, `00A\r\n${"x".repeat(10)}\r\n000\r\n\r\n`),
    sees: ["POST /a web.shop 10"],
  },
  {
    name: "chunked in capitals",
    bytes: post("Transfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    sees: ["POST /a web.shop 3"],
  },
  {
    name: "a trailer",
    bytes: post(chunked, "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"),
    sees: ["POST /a web.shop 3"],
  },
  {
    name: "content of GET",
    bytes: `GET /a HTTP/1.1\r\n${host}Content-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
    sees: [`GET /a web.shop ${smuggled.length}`],
  },
  {
    name: "content of DELETE, in chunks",
    bytes: `DELETE /a HTTP/1.1\r\n${host}${chunked}\r\n3\r\nabc\r\n0\r\n\r\n`,
    sees: ["DELETE /a web.shop 3"],
  },
  {
    name: "an empty line in front",
    bytes: `\r\nGET /a HTTP/1.1\r\n${host}\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  {
    name: "an absolute target of the same host",
    bytes: `GET http://WEB.shop/a HTTP/1.1\r\n${host}\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  { name: "dots in the path", bytes: `GET /b/../a HTTP/1.1\r\n${host}\r\n`, sees: ["GET /a web.shop 0"] },
  {
    name: "encoded dots in the path",
    bytes: `GET /b/%2e%2e/a HTTP/1.1\r\n${host}\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  {
    name: "a backslash in the path",
    bytes: `GET /b\\..\\a HTTP/1.1\r\n${host}\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  {
    name: "a length with zeros in front",
    bytes: post("Content-Length: 0003\r\n", "abc"),
    sees: ["POST /a web.shop 3"],
  },
  {
    name: "white space around a value",
    bytes: `GET /a HTTP/1.1\r\nHost: \t web.shop \t\r\n\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  {
    name: "a header named by Connection",
    bytes: `GET /a HTTP/1.1\r\n${host}Connection: x\r\nX: y\r\n\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  {
    name: "an upgrade to what is not known",
    bytes: `GET /a HTTP/1.1\r\n${host}Connection: upgrade\r\nUpgrade: foo\r\n\r\n`,
    sees: ["GET /a web.shop 0"],
  },
  {
    name: "HTTP/1.0 that keeps alive",
    bytes: `GET /a HTTP/1.0\r\n${host}Connection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n${host}\r\n`,
    sees: ["GET /a web.shop 0", "GET /b web.shop 0"],
  },
];

export const attacks: readonly Attack[] = [...framing, ...chunks, ...lines, ...targets, ...harmless];
