/** nginx as an application: its access log is what it has seen. It says nothing of content that it throws away, so the length is what the request said. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "./stage.ts";

export function nginxBackend(): Backend {
  const path = findNginx();
  let read = 0;
  return {
    name: "nginx",
    missing: path === null ? "nginx" : null,
    protocol: "HTTP",
    command: (address, port, directory) => {
      const configuration = join(directory, "nginx.conf");
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
        (name) => `${name}_temp_path ${directory}/${name};`,
      );
      writeFileSync(
        configuration,
        `daemon off; master_process off; pid ${directory}/nginx.pid; error_log ${directory}/nginx.error;
events {}
http {
  ${temporary.join(" ")}
  log_format seen '$request_method $request_uri $http_host $status';
  access_log ${directory}/nginx.access seen;
  server { listen ${address}:${port}; location / { return 200 "$request_method $request_uri"; } }
}
`,
      );
      return ["sh", "-c", `echo ready; exec ${path} -e ${directory}/nginx.error -c ${configuration}`];
    },
    log: async (_address, _port, directory) => {
      const text = existsSync(join(directory, "nginx.access"))
        ? readFileSync(join(directory, "nginx.access"), "utf8")
        : "";
      const lines = text
        .slice(read)
        .split("\n")
        .filter((line) => line !== "");
      read = text.length;
      return lines;
    },
  };
}

function findNginx(): string | null {
  return Bun.which("nginx") ?? (existsSync("/usr/sbin/nginx") ? "/usr/sbin/nginx" : null);
}

/** nginx with HTTP/2 alone. */
export function nginxHttp2Backend(): Backend {
  const path = findNginx();
  return {
    name: "nginx_http2",
    missing: path === null ? "nginx" : null,
    protocol: "HTTP2",
    command: (address, port, directory) => {
      const configuration = join(directory, "nginx_h2.conf");
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
        (name) => `${name}_temp_path ${directory}/h2_${name};`,
      );
      writeFileSync(
        configuration,
        `daemon off; master_process off; pid ${directory}/nginx_h2.pid; error_log ${directory}/nginx_h2.error;
events {}
http {
  ${temporary.join(" ")}
  access_log off;
  server { listen ${address}:${port} http2; location / { return 200 "hello"; } }
}
`,
      );
      return ["sh", "-c", `echo ready; exec ${path} -e ${directory}/nginx_h2.error -c ${configuration}`];
    },
    log: async () => [],
  };
}
