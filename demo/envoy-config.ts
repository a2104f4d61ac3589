// The Envoy configuration of one machine: the gateway listener with the filter and, for the demo's control, the same
// listener without it. What each part is for stands beside it; the Istio resources say the same in their own words.
import { dirname } from "node:path";

/** Headers that only the gateway may set; a trailing "-" means every name that begins so. */
export const ROUTING_HEADERS = [
  "x-gateway-destination-endpoint",
  "x-prefiller-host-port",
  "x-prefiller-hosts-ports",
  "x-data-parallel-host-port",
  "x-data-parallel-rank",
  "x-encoder-hosts-ports",
  "x-kv-cache-source-host-port",
  "x-envoy-upstream-rq-timeout-ms",
  "x-envoy-upstream-rq-per-try-timeout-ms",
  "x-envoy-max-retries",
  "x-envoy-retry-on",
  "x-selected-pod",
  "x-decode-pod",
  "x-prefill-pod",
];

export interface EnvoyConfigOptions {
  /** Port of the gateway listener. */
  gatewayPort: number;
  /** Port of the listener without the filter (round robin); none when absent. */
  controlPort?: number;
  adminPort: number;
  /** Port of the agent's table stream. */
  streamPort: number;
  /** ip:port of each pod. */
  pods: string[];
  /** ip:port of each pod that prefills for others; none leaves the cluster of prefill calls out. */
  prefillPods?: string[];
  /** Path of the filter module. */
  wasm: string;
  /** The filter's own configuration; agentCluster is filled in. */
  filter: {
    sessionKey: string;
    debugHeaders?: "all" | "trusted" | "none";
    /** Records how long each callback takes. */
    timeCallbacks?: boolean;
    bodyLimitBytes?: number;
  };
  /** false leaves out allow_on_headers_stop_iteration: a wrong installation, for tests of the watchdog. */
  allowStop?: boolean;
  /** Fails open by failure_policy as a WasmPlugin does, which cuts open streams; else by fail_open. */
  failurePolicy?: "FAIL_OPEN";
  /** The filter is discovered in this file (ECDS), which filterResource fills, and followed when that is replaced. */
  filterFile?: string;
  /** false leaves out the native removal of routing headers, to test the filter's own. */
  nativeRemoval?: boolean;
}

const type = (name: string) => `type.googleapis.com/${name}`;
const extension = (name: string, proto: string, fields: object = {}) => ({
  name,
  typed_config: { "@type": type(proto), ...fields },
});
const endpoint = (address: string) => {
  const colon = address.lastIndexOf(":");
  return {
    endpoint: {
      address: {
        socket_address: { address: address.slice(0, colon), port_value: Number(address.slice(colon + 1)) },
      },
    },
  };
};
const http2 = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": type("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
    explicit_http_config: {
      http2_protocol_options: { connection_keepalive: { interval: "5s", timeout: "5s" } },
    },
  },
};
const unlimited = {
  thresholds: [
    {
      max_connections: 1_000_000,
      max_pending_requests: 1_000_000,
      max_requests: 1_000_000,
      max_retries: 1_000_000,
    },
  ],
};

function listener(name: string, port: number, cluster: string, filters: object[], nativeRemoval: boolean) {
  return {
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    per_connection_buffer_limit_bytes: 16 * 1024 * 1024,
    filter_chains: [
      {
        filters: [
          extension(
            "envoy.filters.network.http_connection_manager",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            {
              stat_prefix: name,
              codec_type: "AUTO",
              normalize_path: true,
              // Before anything else runs, so that a bypassed filter lets no forged header through either.
              ...(nativeRemoval
                ? {
                    early_header_mutation_extensions: [
                      extension(
                        "envoy.http.early_header_mutation.header_mutation",
                        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                        { mutations: ROUTING_HEADERS.map((remove) => ({ remove })) },
                      ),
                    ],
                  }
                : {}),
              stream_idle_timeout: "300s",
              route_config: {
                name,
                virtual_hosts: [
                  {
                    name: "pods",
                    domains: ["*"],
                    routes: [
                      {
                        match: { prefix: "/" },
                        route: {
                          cluster,
                          timeout: "0s",
                          hash_policy: [
                            { header: { header_name: "x-session-id" }, terminal: true },
                            { cookie: { name: "session_id" }, terminal: true },
                            { header: { header_name: "authorization" }, terminal: true },
                          ],
                          retry_policy: {
                            retry_on:
                              "connect-failure,refused-stream,reset-before-request,reset,retriable-status-codes",
                            retriable_status_codes: [503],
                            num_retries: 3,
                            retry_host_predicate: [
                              extension(
                                "envoy.retry_host_predicates.previous_hosts",
                                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                              ),
                            ],
                            host_selection_retry_max_attempts: 5,
                            retry_back_off: { base_interval: "0.005s", max_interval: "0.1s" },
                          },
                        },
                      },
                    ],
                  },
                ],
              },
              http_filters: [
                ...filters,
                extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
              ],
            },
          ),
        ],
      },
    ],
  };
}

/** Name of the filter, also of its resource when it is discovered. */
const FILTER = "warmgate";
const WASM = "envoy.extensions.filters.http.wasm.v3.Wasm";

function httpFilter(o: EnvoyConfigOptions): object {
  if (o.filterFile === undefined) return wasmFilter(o);
  return {
    name: FILTER,
    config_discovery: {
      config_source: {
        path_config_source: { path: o.filterFile, watched_directory: { path: dirname(o.filterFile) } },
        resource_api_version: "V3",
      },
      type_urls: [type(WASM)],
    },
  };
}

/** What `filterFile` holds, as an object: write it as JSON to another file and rename that, so that no half is read. */
export function filterResource(o: EnvoyConfigOptions, version: string): object {
  const resource = { "@type": type("envoy.config.core.v3.TypedExtensionConfig"), ...wasmFilter(o) };
  return { version_info: version, resources: [resource] };
}

function wasmFilter(o: EnvoyConfigOptions) {
  return extension(FILTER, WASM, {
    config: {
      name: "warmgate",
      root_id: "warmgate",
      // A trapped module means routing by session. failure_policy: FAIL_OPEN says the same for new requests, but Envoy
      // (1.40) then cuts those that are under way in the trapped VM; only the older field lets them go on.
      ...(o.failurePolicy ? { failure_policy: o.failurePolicy } : { fail_open: true }),
      // Without it a stop at the headers means a stop of everything, and the body never comes.
      ...(o.allowStop === false ? {} : { allow_on_headers_stop_iteration: true }),
      configuration: {
        "@type": type("google.protobuf.StringValue"),
        value: JSON.stringify({ agentCluster: "warmgate-agent", ...o.filter }),
      },
      vm_config: {
        vm_id: "warmgate",
        runtime: "envoy.wasm.runtime.v8",
        code: { local: { filename: o.wasm } },
      },
    },
  });
}

/** Removes the destination after the host is chosen: the pod must not see it. */
const upstreamFilters = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": type("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
    explicit_http_config: { http_protocol_options: {} },
    http_filters: [
      extension(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        { mutations: { request_mutations: [{ remove: "x-gateway-destination-endpoint" }] } },
      ),
      extension(
        "envoy.filters.http.upstream_codec",
        "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
      ),
    ],
  },
};

function podCluster(name: string, pods: string[], policy: object) {
  return {
    name,
    type: "STATIC",
    connect_timeout: "1s",
    circuit_breakers: unlimited,
    per_connection_buffer_limit_bytes: 16 * 1024 * 1024,
    typed_extension_protocol_options: upstreamFilters,
    load_balancing_policy: { policies: [{ typed_extension_config: policy }] },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: pods.map(endpoint) }] },
  };
}

/** Envoy's bootstrap as an object; write it as JSON. */
export function envoyConfig(o: EnvoyConfigOptions): object {
  const leastRequest = extension(
    "envoy.load_balancing_policies.least_request",
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
  );
  const ring = extension(
    "envoy.load_balancing_policies.ring_hash",
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
    { consistent_hashing_lb_config: { hash_balance_factor: 150 } },
  );
  const override = extension(
    "envoy.load_balancing_policies.override_host",
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
    {
      override_host_sources: [{ header: "x-gateway-destination-endpoint" }],
      fallback_policy: { policies: [{ typed_extension_config: ring }] },
    },
  );
  const prefillOverride = extension(
    "envoy.load_balancing_policies.override_host",
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
    {
      override_host_sources: [{ header: "x-gateway-destination-endpoint" }],
      fallback_policy: { policies: [{ typed_extension_config: leastRequest }] },
    },
  );
  const roundRobin = extension(
    "envoy.load_balancing_policies.round_robin",
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
  );
  const native = o.nativeRemoval !== false;
  return {
    // Discovery needs a name to ask with.
    node: { id: "warmgate", cluster: "warmgate" },
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: o.adminPort } } },
    static_resources: {
      listeners: [
        listener("gateway", o.gatewayPort, "pods", [httpFilter(o)], native),
        ...(o.controlPort === undefined
          ? []
          : [listener("control", o.controlPort, "pods-round-robin", [], native)]),
      ],
      clusters: [
        podCluster("pods", o.pods, override),
        // Of the filter's own prefill calls: the header names the pod, and one that has left is another one's turn.
        ...(o.prefillPods?.length ? [podCluster("warmgate-prefill", o.prefillPods, prefillOverride)] : []),
        ...(o.controlPort === undefined ? [] : [podCluster("pods-round-robin", o.pods, roundRobin)]),
        {
          name: "warmgate-agent",
          type: "STATIC",
          connect_timeout: "1s",
          typed_extension_protocol_options: http2,
          load_assignment: {
            cluster_name: "warmgate-agent",
            endpoints: [{ lb_endpoints: [endpoint(`127.0.0.1:${o.streamPort}`)] }],
          },
        },
      ],
    },
  };
}
