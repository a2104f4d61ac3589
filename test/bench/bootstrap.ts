// The demo's Envoy configuration as far as tests and benches change it.
import { type EnvoyConfigOptions, envoyConfig } from "../../demo/envoy-config.js";

export interface ConnectionManager {
  http_filters: { name: string; typed_config?: object }[];
  early_header_mutation_extensions?: object[];
  access_log?: object[];
  route_config: { virtual_hosts: { routes: { route: { cluster: string } }[] }[] };
}

export interface Listener {
  name: string;
  address: { socket_address: { port_value: number } };
  filter_chains: { filters: { typed_config: ConnectionManager }[] }[];
}

interface Bootstrap {
  static_resources: {
    /** The gateway's comes first. */
    listeners: [Listener, ...Listener[]];
    clusters: { name: string; load_assignment: object }[];
  };
}

export const bootstrap = (options: EnvoyConfigOptions) => envoyConfig(options) as Bootstrap;

export const managerOf = (listener: Listener): ConnectionManager =>
  listener.filter_chains[0]!.filters[0]!.typed_config;

/** A listener like another one at a port of its own. */
export function listenerLike(listener: Listener, name: string, port: number): Listener {
  const copy = structuredClone(listener);
  copy.name = name;
  copy.address.socket_address.port_value = port;
  return copy;
}
