// The Envoy under test: three listeners in one process (filter off, Envoy's own buffer filter, ours), one worker on a
// core of its own; the upstream is a second Envoy that answers by itself, beside the client on the other core.
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { built } from "../../agent/package-root.js";
import { bootstrap, listenerLike, managerOf } from "./bootstrap.js";

export const ROWS = ["off", "buffer", "on"] as const;
export type Row = (typeof ROWS)[number];

/** Configuration with the three listeners at `ports` (off, buffer, on); the filter's settings are its defaults. */
export function benchConfig(
  ports: Record<Row, number>,
  adminPort: number,
  streamPort: number,
  pods: string[],
  timeCallbacks: boolean,
): object {
  const config = bootstrap({
    gatewayPort: ports.on,
    adminPort,
    streamPort,
    pods,
    wasm: built("warmgate.wasm"),
    filter: { sessionKey: randomBytes(32).toString("hex"), timeCallbacks },
  });
  const { listeners } = config.static_resources;
  for (const row of ["off", "buffer"] as const) {
    const copy = listenerLike(listeners[0], row, ports[row]);
    const filters = managerOf(copy).http_filters;
    filters.splice(
      filters.findIndex((f) => f.name === "warmgate"),
      1,
      ...(row === "off"
        ? []
        : [
            {
              name: "envoy.filters.http.buffer",
              typed_config: {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
                max_request_bytes: 16 * 1024 * 1024,
              },
            },
          ]),
    );
    listeners.push(copy);
  }
  return config;
}

/** An Envoy that answers every request by itself on each of `ports`. */
export function answeringConfig(ports: number[], adminPort: number): object {
  return {
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: adminPort } } },
    static_resources: {
      listeners: ports.map((port) => ({
        name: `upstream-${port}`,
        address: { socket_address: { address: "127.0.0.1", port_value: port } },
        filter_chains: [
          {
            filters: [
              {
                name: "envoy.filters.network.http_connection_manager",
                typed_config: {
                  "@type":
                    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                  stat_prefix: "upstream",
                  route_config: {
                    virtual_hosts: [
                      {
                        name: "all",
                        domains: ["*"],
                        routes: [
                          {
                            match: { prefix: "/" },
                            direct_response: { status: 200, body: { inline_string: "ok" } },
                          },
                        ],
                      },
                    ],
                  },
                  http_filters: [
                    {
                      // Without it a direct response would close the connection on a body still under way.
                      name: "envoy.filters.http.buffer",
                      typed_config: {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
                        max_request_bytes: 16 * 1024 * 1024,
                      },
                    },
                    {
                      name: "envoy.filters.http.router",
                      typed_config: {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                      },
                    },
                  ],
                },
              },
            ],
          },
        ],
        per_connection_buffer_limit_bytes: 16 * 1024 * 1024,
      })),
    },
  };
}

/** CPU time of an Envoy's only worker thread so far, µs. */
export function workerCpuUs(pid: number): number {
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const name = readFileSync(`/proc/${pid}/task/${task}/comm`, "utf8").trim();
    if (name === "wrk:worker_0")
      return Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000;
  }
  throw new Error(`process ${pid} has no thread wrk:worker_0`);
}
