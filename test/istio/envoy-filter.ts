// Istio's EnvoyFilter on a gateway's configuration: the operations our manifests use, as pilot's envoyfilter package
// carries them out (release 1.29). Anything else is refused, so that no patch is passed over in silence.
import { connectionManagers, type GatewayConfig } from "./gateway-config.js";
import type { Manifest } from "./manifests.js";
import { isMessage, type Message, mergeAny, protoMerge } from "./proto-merge.js";

interface ConfigPatch {
  applyTo: string;
  match: Message;
  patch: { operation: string; value: Message };
}

/** A patch, named for people, and on how many objects it acted. */
export interface Applied {
  patch: string;
  count: number;
}

/** Parts of Envoy's cluster name `direction|port|subset|host`. */
function clusterMatches(cluster: Message, match: Message | undefined): boolean {
  if (match === undefined) return true;
  if (match["name"]) return match["name"] === cluster["name"];
  const [, port, subset, host] = String(cluster["name"]).split("|");
  return (
    (!match["service"] || match["service"] === host) &&
    (!match["portNumber"] || String(match["portNumber"]) === port) &&
    (!match["subset"] || match["subset"] === subset)
  );
}

const ACTIONS: Record<string, string> = {
  ROUTE: "route",
  REDIRECT: "redirect",
  DIRECT_RESPONSE: "direct_response",
};

function routeMatches(host: Message, route: Message, match: Message | undefined): boolean {
  const vhost = match?.["vhost"] as Message | undefined;
  if (vhost?.["name"] && vhost["name"] !== host["name"]) return false;
  const wanted = vhost?.["route"] as Message | undefined;
  if (wanted?.["name"] && wanted["name"] !== route["name"]) return false;
  return !wanted?.["action"] || wanted["action"] === "ANY" || ACTIONS[wanted["action"]]! in route;
}

/** Keys of a match that this file understands, per level; another one would be a condition left out. */
const KNOWN = {
  match: ["context", "proxy", "listener", "cluster", "routeConfiguration"],
  proxy: ["proxyVersion"],
  listener: ["filterChain"],
  filterChain: ["filter"],
  cluster: ["name", "service", "portNumber", "subset"],
  routeConfiguration: ["vhost"],
};

function refuseUnknown(match: Message, level: keyof typeof KNOWN = "match"): void {
  for (const [key, value] of Object.entries(match)) {
    if (!KNOWN[level].includes(key)) throw new Error(`match.${key} is not implemented`);
    if (isMessage(value) && key in KNOWN) refuseUnknown(value, key as keyof typeof KNOWN);
  }
}

const filterName = (match: Message): string | undefined => match["listener"]?.filterChain?.filter?.name;

function apply(gateway: GatewayConfig, { applyTo, match, patch }: ConfigPatch): number {
  const { operation, value } = patch;
  let count = 0;
  const managers = gateway.listeners
    .flatMap(connectionManagers)
    .filter((m) => filterName(match) === undefined || filterName(match) === m["name"]);
  switch (`${applyTo} ${operation}`) {
    case "EXTENSION_CONFIG ADD":
      gateway.extensions.push(structuredClone(value));
      return 1;
    case "CLUSTER ADD":
      gateway.clusters.push(structuredClone(value));
      return 1;
    case "CLUSTER MERGE":
      for (const cluster of gateway.clusters.filter((c) => clusterMatches(c, match["cluster"]))) {
        protoMerge(cluster, value);
        count++;
      }
      return count;
    case "LISTENER MERGE":
      for (const listener of gateway.listeners) {
        protoMerge(listener, value);
        count++;
      }
      return count;
    case "NETWORK_FILTER MERGE":
      for (const manager of managers) {
        mergeAny(manager["typed_config"], value["typed_config"]);
        count++;
      }
      return count;
    case "HTTP_FILTER INSERT_BEFORE":
      for (const manager of managers) {
        const filters = manager["typed_config"].http_filters as Message[];
        const before = match["listener"]?.filterChain?.filter?.subFilter?.name;
        const at = filters.findIndex((f) => f["name"] === before);
        if (at < 0) continue;
        filters.splice(at, 0, structuredClone(value));
        count++;
      }
      return count;
    case "HTTP_ROUTE MERGE":
      for (const host of gateway.routes.flatMap((r) => r["virtual_hosts"] as Message[]))
        for (const route of host["routes"] as Message[])
          if (routeMatches(host, route, match["routeConfiguration"])) {
            protoMerge(route, value);
            count++;
          }
      return count;
    default:
      throw new Error(`${applyTo} ${operation} is not implemented`);
  }
}

/**
 * Applies the patches of EnvoyFilters to a gateway in place. Additions come last, as in istiod, so that a MERGE never
 * meets a cluster of another patch.
 * @returns how often each patch acted; 0 also when the proxy's version does not match
 * @throws on an operation or condition that is not implemented here
 */
export function applyEnvoyFilters(gateway: GatewayConfig, filters: Manifest[]): Applied[] {
  const patches = filters.flatMap((f) =>
    (f["spec"].configPatches as ConfigPatch[]).map((patch, i) => ({
      ...patch,
      from: `${f.metadata.name}[${i}]`,
    })),
  );
  const adds = patches.filter((p) => p.patch.operation === "ADD");
  return [...patches.filter((p) => p.patch.operation !== "ADD"), ...adds].map((p) => {
    refuseUnknown(p.match);
    const version = p.match["proxy"]?.proxyVersion as string | undefined;
    const here =
      p.match["context"] === "GATEWAY" && (!version || new RegExp(version).test(gateway.proxyVersion));
    return { patch: `${p.from} ${p.applyTo} ${p.patch.operation}`, count: here ? apply(gateway, p) : 0 };
  });
}
