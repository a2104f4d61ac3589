// The EnvoyFilters against the configuration of a real gateway, as istiod 1.29.6 sent it.
import { describe, expect, test } from "vitest";
import { envoyConfig, ROUTING_HEADERS } from "../../demo/envoy-config.js";
import { applyEnvoyFilters } from "./envoy-filter.js";
import { type GatewayConfig, readGateway, withoutFilter } from "./gateway-config.js";
import { fixture, manifest, readManifests, resourcesOf } from "./manifests.js";
import { capturedGateway, ourGateway, PROBE } from "./our-gateway.js";
import type { Message } from "./proto-merge.js";

describe("our reading of Istio's patches", () => {
  test("makes of the captured gateway what istiod made of it", () => {
    const gateway = readGateway(fixture("gateway.json"));
    withoutFilter(gateway, PROBE);
    const applied = applyEnvoyFilters(gateway, readManifests(fixture("envoy-filter.yaml")));
    expect(applied.filter((a) => a.count === 0)).toEqual([]);
    expect(gateway).toEqual(readGateway(fixture("gateway-with-filter.json")));
  });
});

const base = resourcesOf("base");
const filters = ["warmgate-routing", "warmgate-wasm"].map((name) => manifest(base, "EnvoyFilter", name));

/** Routes, cluster and connection manager of a gateway, and of the demo's Envoy. */
function parts(gateway: GatewayConfig) {
  const cluster = gateway.clusters.find((c) => String(c["name"]).includes("vllm"))!;
  const listener = gateway.listeners[0]!;
  const manager = listener["filter_chains"][0].filters[0].typed_config as Message;
  const route = gateway.routes[0]!["virtual_hosts"][0].routes[0].route as Message;
  return {
    cluster,
    listener,
    manager,
    route,
    agent: gateway.clusters.find((c) => c["name"] === "warmgate-agent")!,
  };
}

const demo = envoyConfig({
  gatewayPort: 1,
  adminPort: 2,
  streamPort: 3,
  pods: [],
  prefillPods: ["127.0.0.1:1"],
  wasm: "",
  filter: { sessionKey: "" },
}) as Message;
const demoListener = demo["static_resources"].listeners[0] as Message;
const demoManager = demoListener["filter_chains"][0].filters[0].typed_config as Message;
const demoRoute = demoManager["route_config"].virtual_hosts[0].routes[0].route as Message;
const [demoPods, demoPrefill, demoAgent] = demo["static_resources"].clusters as [Message, Message, Message];

describe("our EnvoyFilters", () => {
  test("act on the captured gateway, every patch of them", () => {
    expect(ourGateway().applied.filter((a) => a.count === 0)).toEqual([]);
  });

  test.each(["1.28.0", "1.29.6", "1.30.3", "1.31.0"])("are for gateways of Istio %s", (version) => {
    const gateway = capturedGateway();
    gateway.proxyVersion = version;
    expect(applyEnvoyFilters(gateway, filters).filter((a) => a.count === 0)).toEqual([]);
  });

  test.each(["1.27.8", "1.9.0", "1.2.0"])(
    "leave a gateway of Istio %s alone, which is too old",
    (version) => {
      const gateway = capturedGateway();
      gateway.proxyVersion = version;
      const before = structuredClone(gateway);
      applyEnvoyFilters(gateway, filters);
      expect(gateway).toEqual(before);
    },
  );

  test("choose hosts, hide the destination and limit buffers as the demo's Envoy does", () => {
    const { cluster, listener } = parts(ourGateway().gateway);
    expect(cluster["load_balancing_policy"]).toEqual(demoPods["load_balancing_policy"]);
    expect(cluster["typed_extension_protocol_options"]).toEqual(demoPods["typed_extension_protocol_options"]);
    expect(cluster["per_connection_buffer_limit_bytes"]).toBe(demoPods["per_connection_buffer_limit_bytes"]);
    expect(listener["per_connection_buffer_limit_bytes"]).toBe(
      demoListener["per_connection_buffer_limit_bytes"],
    );
  });

  test("remove the routing headers that the demo's Envoy removes", () => {
    const early = parts(ourGateway().gateway).manager["early_header_mutation_extensions"] as Message[];
    expect(early).toEqual(demoManager["early_header_mutation_extensions"]);
    expect(early[0]!["typed_config"].mutations.map((m: Message) => m["remove"])).toEqual(ROUTING_HEADERS);
  });

  test("retry and hash as the demo's Envoy does, behind Istio's own hash of the same header", () => {
    const { route, manager } = parts(ourGateway().gateway);
    expect(Number(route["retry_policy"].host_selection_retry_max_attempts)).toBe(5);
    expect({ ...route["retry_policy"], host_selection_retry_max_attempts: 5 }).toEqual(
      demoRoute["retry_policy"],
    );
    expect(route["hash_policy"]).toEqual([
      { header: { header_name: "x-session-id" } },
      ...demoRoute["hash_policy"],
    ]);
    expect(route["timeout"]).toBe(demoRoute["timeout"]);
    expect(manager["stream_idle_timeout"]).toBe(demoManager["stream_idle_timeout"]);
    expect(manager["normalize_path"]).toBe(demoManager["normalize_path"]);
  });

  test("reach the agent as the demo's Envoy does, by the name of its Service and port", () => {
    const { agent } = parts(ourGateway().gateway);
    expect(agent["typed_extension_protocol_options"]).toEqual(demoAgent["typed_extension_protocol_options"]);
    expect(agent["connect_timeout"]).toBe(demoAgent["connect_timeout"]);
    const service = manifest(base, "Service", "warmgate-agent");
    const { address, port_value } =
      agent["load_assignment"].endpoints[0].lb_endpoints[0].endpoint.address.socket_address;
    expect(address).toBe(`${service.metadata.name}.${service.metadata.namespace}.svc.cluster.local`);
    expect(service["spec"].ports.map((p: Message) => p["port"])).toContain(port_value);
  });

  test("reach prefill pods as the demo's Envoy does, by the name of their Service, under the name that the filter has", () => {
    const { gateway } = ourGateway();
    const { config } = gateway.extensions[0]!["typed_config"];
    const { prefillCluster } = JSON.parse(config.configuration.value) as Message;
    const prefill = gateway.clusters.find((c) => c["name"] === prefillCluster)!;
    for (const key of [
      "load_balancing_policy",
      "typed_extension_protocol_options",
      "circuit_breakers",
      "per_connection_buffer_limit_bytes",
      "connect_timeout",
    ])
      expect([key, prefill[key]]).toEqual([key, demoPrefill[key]]);
    const service = manifest(base, "Service", "vllm-prefill");
    const { address, port_value } =
      prefill["load_assignment"].endpoints[0].lb_endpoints[0].endpoint.address.socket_address;
    expect(address).toBe(`${service.metadata.name}.${service.metadata.namespace}.svc.cluster.local`);
    expect(service["spec"].ports[0].targetPort).toBe(port_value);
    // Only a headless Service has the pods' own addresses under its name, which the filter's choice must equal.
    expect(service["spec"].clusterIP).toBe("None");
    expect(service["spec"].selector["llm-d.ai/role"]).toBe("prefill");
  });

  test("configure the filter as the demo's Envoy does, with the flag that lets it wait for a body", () => {
    const { gateway } = ourGateway();
    const { config } = gateway.extensions[0]!["typed_config"];
    const { config: wanted } = demoManager["http_filters"][0].typed_config;
    const { configuration, vm_config, ...rest } = config;
    const { configuration: _, vm_config: __, ...demoRest } = wanted;
    expect(rest).toEqual(demoRest);
    expect({ ...vm_config, code: null }).toEqual({ ...wanted.vm_config, code: null });
    expect(JSON.parse(configuration.value)).toMatchObject({ agentCluster: "warmgate-agent", mode: "body" });
  });

  test("select the gateway pods that Istio makes of our Gateway", () => {
    const { metadata } = manifest(base, "Gateway", "warmgate");
    for (const filter of filters) {
      expect(filter.metadata.namespace).toBe(metadata.namespace);
      expect(filter["spec"].workloadSelector.labels).toEqual({
        "gateway.networking.k8s.io/gateway-name": metadata.name,
      });
    }
  });
});
