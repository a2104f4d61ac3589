// What istiod sends to a gateway, taken from a captured config dump of Envoy.
import { readFileSync } from "node:fs";
import { isMessage, type Message } from "./proto-merge.js";

export interface GatewayConfig {
  /** Istio's version, as the proxy tells it. */
  proxyVersion: string;
  listeners: Message[];
  clusters: Message[];
  routes: Message[];
  /** ECDS: filter configurations by name. */
  extensions: Message[];
  endpoints: Message[];
}

/**
 * Reads a dump (`/config_dump?include_eds`).
 * @param rename texts to replace in it first, such as the service's name
 */
export function readGateway(file: string, rename: Record<string, string> = {}): GatewayConfig {
  let text = readFileSync(file, "utf8");
  for (const [from, to] of Object.entries(rename)) text = text.replaceAll(from, to);
  const dump = JSON.parse(text) as { configs: Message[] };
  const section = (name: string): Message => {
    const found = dump.configs.find((c) => c["@type"] === `type.googleapis.com/envoy.admin.v3.${name}`);
    if (!found) throw new Error(`${file}: no ${name}`);
    return found;
  };
  const each = (list: Message[] | undefined, pick: (entry: Message) => Message): Message[] =>
    (list ?? []).map((entry) => {
      const { "@type": _, ...resource } = pick(entry);
      return resource;
    });
  return {
    proxyVersion: section("BootstrapConfigDump")["bootstrap"].node.metadata.ISTIO_VERSION,
    listeners: each(section("ListenersConfigDump")["dynamic_listeners"], (l) => l["active_state"].listener),
    clusters: each(section("ClustersConfigDump")["dynamic_active_clusters"], (c) => c["cluster"]),
    routes: each(section("RoutesConfigDump")["dynamic_route_configs"], (r) => r["route_config"]),
    extensions: each(section("EcdsConfigDump")["ecds_filters"], (e) => e["ecds_filter"]),
    endpoints: each(section("EndpointsConfigDump")["dynamic_endpoint_configs"], (e) => e["endpoint_config"]),
  };
}

/** Every HTTP connection manager of a listener. */
export function connectionManagers(listener: Message): Message[] {
  const chains = [
    listener["filter_chains"] ?? [],
    listener["default_filter_chain"] ?? [],
  ].flat() as Message[];
  return chains
    .flatMap((chain) => chain["filters"] as Message[])
    .filter((filter) => filter["name"] === "envoy.filters.network.http_connection_manager");
}

/** Takes a filter out of every HTTP filter chain, and its configuration with it. */
export function withoutFilter(gateway: GatewayConfig, name: string): void {
  for (const manager of gateway.listeners.flatMap(connectionManagers)) {
    const config = manager["typed_config"] as Message;
    config["http_filters"] = (config["http_filters"] as Message[]).filter((f) => f["name"] !== name);
  }
  gateway.extensions = gateway.extensions.filter((e) => e["name"] !== name);
}

/** Calls `visit` for every message inside `value`, outermost first. */
export function walk(value: unknown, visit: (message: Message) => void): void {
  if (Array.isArray(value)) for (const entry of value) walk(entry, visit);
  else if (isMessage(value)) {
    visit(value);
    for (const entry of Object.values(value)) walk(entry, visit);
  }
}
