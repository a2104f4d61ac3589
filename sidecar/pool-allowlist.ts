// The allowlist of an InferencePool: the addresses of the pods that it selects and that prefill, with its target ports.
import type { Logger } from "pino";
import type { Allowlist } from "./allowlist.js";
import { Informer } from "./informer.js";
import type { KubeAccess, KubeObject } from "./kube-api.js";
import { parseTarget } from "./prefiller.js";

/** llm-d's label of what a pod is for: `prefill`, `decode`, `both`, or several joined by hyphens (`prefill-decode`). */
const ROLE_LABEL = "llm-d.ai/role";

/** Both spellings of an InferencePool, the one that counts first. */
const VERSIONS = ["inference.networking.k8s.io/v1", "inference.networking.x-k8s.io/v1alpha2"];

interface InferencePool {
  /** labelSelector of its pods. */
  selector: string;
  ports: number[];
}

/**
 * Follows a pool and its pods. Until both have been read nothing is allowed, and `unsynced` says why; when the API server
 * is away later on, what was read last stays.
 * @param name `namespace/name`
 */
export function poolAllowlist(name: string, access: KubeAccess, log: Logger): Allowlist {
  const slash = name.indexOf("/");
  const [namespace, pool] = [name.slice(0, slash), name.slice(slash + 1)];
  let allowed = new Set<string>();
  let followed: InferencePool | null = null;
  let pods: Informer<string[]> | null = null;
  let told: string | undefined;

  const pools = VERSIONS.map(
    (version) =>
      new Informer(
        access,
        {
          path: `/apis/${version}/namespaces/${encodeURIComponent(namespace)}/inferencepools`,
          selector: { fieldSelector: `metadata.name=${pool}` },
        },
        log,
        readPool,
        changed,
      ),
  );

  function changed(): void {
    const found = pools.map((one) => one.objects.get(pool)).find((one) => one) ?? null;
    if (found?.selector !== followed?.selector) {
      pods?.close();
      pods =
        found &&
        new Informer(
          access,
          {
            path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`,
            selector: { labelSelector: found.selector },
          },
          log,
          addressesOf,
          changed,
        ).start();
    }
    followed = found;
    allowed = new Set();
    for (const address of pods?.listed ? [...pods.objects.values()].flat() : []) {
      for (const port of followed!.ports) {
        const target = parseTarget(`${address.includes(":") ? `[${address}]` : address}:${port}`);
        if (target) allowed.add(target.authority);
      }
    }
    tell();
  }

  function unsynced(): string | null {
    if (followed === null) {
      if (pools.some((one) => one.objects.get(pool) === null))
        return `InferencePool ${name} selects by no label or has no target port`;
      if (pools.every((one) => one.listed)) return `there is no InferencePool ${name}`;
      const problem = pools.find((one) => !one.listed && one.problem)?.problem;
      return `InferencePool ${name} has not been read${problem ? `: ${problem}` : " yet"}`;
    }
    if (pods!.listed) return null;
    return `the pods of InferencePool ${name} have not been read${pods!.problem ? `: ${pods!.problem}` : " yet"}`;
  }

  function tell(): void {
    const why = unsynced();
    const state = why ?? `synced ${allowed.size}`;
    if (state === told) return;
    told = state;
    if (why === null) log.info({ inferencePool: name, size: allowed.size }, "the allowlist follows its pool");
    else log.warn({ inferencePool: name, why }, "every x-prefiller-host-port is refused");
  }

  for (const one of pools) one.start();
  tell();
  return {
    allows: (target) => allowed.has(target.authority),
    get size() {
      return allowed.size;
    },
    get unsynced() {
      return unsynced();
    },
    close() {
      for (const one of pools) one.close();
      pods?.close();
    },
  };
}

/** Null for a pool that selects every pod or names no port: it allows nothing. */
function readPool({ spec }: KubeObject): InferencePool | null {
  const { selector, targetPorts, targetPortNumber } = (spec ?? {}) as {
    selector?: Record<string, unknown>;
    targetPorts?: { number?: unknown }[];
    targetPortNumber?: unknown;
  };
  // v1 has selector.matchLabels and targetPorts; v1alpha2 has the labels in selector itself and one targetPortNumber.
  const labels = Object.entries((targetPorts ? selector?.["matchLabels"] : selector) ?? {});
  const ports = (targetPorts?.map((port) => port.number) ?? [targetPortNumber]).filter(
    (port): port is number => Number.isInteger(port),
  );
  if (labels.length === 0 || ports.length === 0) return null;
  return {
    selector: labels
      .map(([key, value]) => `${key}=${value}`)
      .sort()
      .join(),
    ports,
  };
}

/** Whether a pod prefills, as far as its label says; without one it may. */
function prefills({ metadata }: KubeObject): boolean {
  const role = metadata.labels?.[ROLE_LABEL];
  return role === undefined || role === "both" || role.split("-").includes("prefill");
}

/** The addresses of a pod that prefills. One that has ended has none: its address may be another's by now. */
function addressesOf(pod: KubeObject): string[] {
  if (!prefills(pod)) return [];
  const { status } = pod;
  const { phase, podIP, podIPs } = (status ?? {}) as {
    phase?: string;
    podIP?: string;
    podIPs?: { ip: string }[];
  };
  if (phase === "Succeeded" || phase === "Failed") return [];
  return podIPs?.map(({ ip }) => ip) ?? (podIP ? [podIP] : []);
}
