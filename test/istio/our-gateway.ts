// The captured gateway with our EnvoyFilters, and a form of it that one machine can run.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EnvoyConfigOptions } from "../../demo/envoy-config.js";
import { type Applied, applyEnvoyFilters } from "./envoy-filter.js";
import { type GatewayConfig, readGateway, walk, withoutFilter } from "./gateway-config.js";
import { fixture, manifest, resourcesOf } from "./manifests.js";
import type { Message } from "./proto-merge.js";

/** The WasmPlugin that the captured gateway had. */
export const PROBE = "extensions.istio.io/wasmplugin/default.probe";
const SERVICE = { "vllm.default.svc.cluster.local": "vllm.llm-d.svc.cluster.local" };

/** The captured gateway, in front of the Service that our manifests name. */
export function capturedGateway(): GatewayConfig {
  return readGateway(fixture("gateway.json"), SERVICE);
}

/** The captured gateway with istio/base applied to it. */
export function ourGateway(): { gateway: GatewayConfig; applied: Applied[] } {
  const gateway = capturedGateway();
  withoutFilter(gateway, PROBE);
  const base = resourcesOf("base");
  const applied = applyEnvoyFilters(
    gateway,
    ["warmgate-routing", "warmgate-wasm"].map((name) => manifest(base, "EnvoyFilter", name)),
  );
  return { gateway, applied };
}

/** The same with istio/wasmplugin: istiod's translation of the captured WasmPlugin, with what ours says put in. */
export function ourGatewayWithWasmPlugin(): GatewayConfig {
  const gateway = capturedGateway();
  const placed = resourcesOf("wasmplugin");
  applyEnvoyFilters(gateway, [manifest(placed, "EnvoyFilter", "warmgate-routing")]);
  const { metadata, spec } = manifest(placed, "WasmPlugin", "warmgate") as Message;
  const { config } = gateway.extensions.find((e) => e["name"] === PROBE)!["typed_config"];
  config.name = `${metadata.namespace}.${metadata.name}`;
  config.root_id = spec.pluginName;
  config.failure_policy = spec.failStrategy;
  config.configuration.value = JSON.stringify(spec.pluginConfig);
  return gateway;
}

/** An endpoint at ip:port. */
const addressed = (pod: string, model: Message = {}): Message => {
  const [address, port] = pod.split(":") as [string, string];
  return { ...model, endpoint: { address: { socket_address: { address, port_value: Number(port) } } } };
};

const discovery = (path: string) => ({ path_config_source: { path }, resource_api_version: "V3" });

/**
 * Writes what istiod would send as files and returns a bootstrap that reads them: the same listeners, routes, clusters
 * and filters, with the addresses, the module and the session key of `machine`, and nothing else changed.
 * @param wasm path of the module, or null for what the Istio agent puts in place of one that it cannot fetch
 */
export function runnable(
  gateway: GatewayConfig,
  machine: EnvoyConfigOptions,
  folder: string,
  wasm: string | null = machine.wasm,
): object {
  const { listeners, clusters, routes, extensions, endpoints } = structuredClone(gateway);
  const file = (name: string) => join(folder, `xds-${name}.json`);

  const listen = { socket_address: { address: "127.0.0.1", port_value: machine.gatewayPort } };
  for (const listener of listeners) listener["address"] = listen;
  // A file of endpoints may only hold those of one cluster.
  const [pods] = endpoints.filter((e) => String(e["cluster_name"]).includes("vllm")) as [Message];
  const [locality] = pods["endpoints"] as [Message];
  const [model] = locality["lb_endpoints"] as [Message];
  locality["lb_endpoints"] = machine.pods.map((pod) => addressed(pod, model));
  locality["load_balancing_weight"] = machine.pods.length;
  const agent = clusters.find((c) => c["name"] === "warmgate-agent")!;
  walk(agent["load_assignment"], ({ socket_address }) => {
    if (socket_address)
      Object.assign(socket_address, { address: "127.0.0.1", port_value: machine.streamPort });
  });
  // DNS would say the Service's pods; without any the cluster is there all the same, on a name that resolves.
  const prefill = clusters.find((c) => c["name"] === "warmgate-prefill")!;
  const [named] = prefill["load_assignment"].endpoints as [Message];
  named["lb_endpoints"] = (machine.prefillPods?.length ? machine.prefillPods : ["127.0.0.1:1"]).map((pod) =>
    addressed(pod),
  );
  for (const extension of extensions) {
    if (wasm === null) {
      extension["typed_config"] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
      };
      continue;
    }
    const { config } = extension["typed_config"];
    config.vm_config.code = { local: { filename: wasm } };
    config.configuration.value = JSON.stringify({
      ...JSON.parse(config.configuration.value),
      sessionKey: machine.filter.sessionKey,
    });
  }

  // Every resource came over one stream; here each kind has a file.
  walk(clusters, (m) => {
    if (m["eds_config"]) m["eds_config"] = discovery(file("endpoints"));
  });
  walk(listeners, (m) => {
    if (m["rds"]) m["rds"].config_source = discovery(file("routes"));
    if (m["config_discovery"]) m["config_discovery"].config_source = discovery(file("extensions"));
  });
  const kinds: [string, string, Message[]][] = [
    ["listeners", "envoy.config.listener.v3.Listener", listeners],
    ["clusters", "envoy.config.cluster.v3.Cluster", clusters],
    ["routes", "envoy.config.route.v3.RouteConfiguration", routes],
    ["endpoints", "envoy.config.endpoint.v3.ClusterLoadAssignment", [pods]],
    ["extensions", "envoy.config.core.v3.TypedExtensionConfig", extensions],
  ];
  for (const [name, type, resources] of kinds)
    writeFileSync(
      file(name),
      JSON.stringify({
        version_info: "1",
        resources: resources.map((r) => ({ "@type": `type.googleapis.com/${type}`, ...r })),
      }),
    );
  return {
    node: { id: "gateway", cluster: "gateway" },
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: machine.adminPort } } },
    dynamic_resources: {
      lds_config: discovery(file("listeners")),
      cds_config: discovery(file("clusters")),
    },
  };
}
