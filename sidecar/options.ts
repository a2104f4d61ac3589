// What a sidecar can be told: flags first, then the environment, then the default.
import { durationMs } from "../agent/config/duration.js";
import { ConfigError } from "../agent/errors.js";
import { CONNECTOR_NAMES, type ConnectorName } from "./connectors/connector.js";

/** Everything a sidecar is told. Durations in milliseconds, sizes in bytes. */
export interface SidecarOptions {
  host: string | undefined;
  /** Rank r of data parallelism listens on port + r; 0 = a free port per rank. */
  port: number;
  engineHost: string;
  /** Rank r of the engine is at enginePort + r. */
  enginePort: number;
  dataParallelSize: number;
  connector: ConnectorName;
  secureProxy: boolean;
  /** Folder with tls.crt and tls.key; null = a certificate signed by itself. */
  certPath: string | null;
  /** File of PEM certificates that upstream servers may be signed by, beside the system's. */
  caFile: string | null;
  decoderTls: boolean;
  decoderInsecure: boolean;
  prefillerTls: boolean;
  prefillerInsecure: boolean;
  ssrfProtection: boolean;
  allowlistFile: string | null;
  /** namespace/name */
  inferencePool: string | null;
  reservedFields: "reject" | "strip" | "allow";
  prefillTimeoutMs: number;
  prefillFailure: "fallback" | "error";
  prefillMaxRetries: number;
  prefillRetryBackoffMs: number;
  prefillerSampling: boolean;
  prefillerPools: number;
  maxBodyBytes: number;
  kvBlockBytes: number;
  sglangBootstrapPort: number;
  mooncakeBootstrapPort: number;
  drainTimeoutMs: number;
  /** The pod's own address, by which x-data-parallel-host-port names a rank; null = any host. */
  podIp: string | null;
}

/** What commander makes of the flags: text, or true for a flag without a value. */
export type RawFlags = Record<string, string | boolean | string[] | undefined>;

/**
 * @param flags by commander's camel-case names.
 * @throws ConfigError that names the flag or variable.
 */
export function readOptions(flags: RawFlags, env: NodeJS.ProcessEnv): SidecarOptions {
  const text = (name: string, variable?: string): string | null => {
    const value = flags[name] ?? (variable ? env[variable] : undefined);
    return value === undefined || value === "" ? null : String(value);
  };
  const flagName = (name: string) => `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
  const whole = (
    name: string,
    fallback: number,
    [low, high]: [number, number],
    variable?: string,
  ): number => {
    const value = text(name, variable);
    if (value === null) return fallback;
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= low && number <= high) return number;
    throw new ConfigError(`${flagName(name)} ${value}: must be a whole number from ${low} to ${high}`);
  };
  const truth = (name: string, fallback: boolean, variable?: string): boolean => {
    const value = text(name, variable);
    if (value === null) return fallback;
    if (/^(true|t|1)$/i.test(value)) return true;
    if (/^(false|f|0)$/i.test(value)) return false;
    throw new ConfigError(`${flagName(name)} ${value}: must be true or false`);
  };
  const choice = <T extends string>(name: string, choices: readonly T[], fallback: T): T => {
    const value = text(name);
    if (value === null) return fallback;
    const found = choices.find((one) => one === value);
    if (found === undefined)
      throw new ConfigError(`${flagName(name)} ${value}: must be one of ${choices.join(", ")}`);
    return found;
  };
  const duration = (name: string, fallback: number): number => {
    const value = text(name);
    if (value === null) return fallback;
    try {
      return durationMs(value);
    } catch (error) {
      throw new ConfigError(`${flagName(name)} ${value}: ${(error as Error).message}`);
    }
  };
  const stages = (name: string): Set<string> => {
    const value = text(name);
    const list = new Set(value === null ? [] : value.split(",").map((one) => one.trim()));
    for (const one of list) {
      if (one !== "prefiller" && one !== "decoder") {
        throw new ConfigError(`${flagName(name)} ${one}: must be prefiller, decoder or both after a comma`);
      }
    }
    return list;
  };

  const tls = stages("enableTls");
  const insecure = stages("tlsInsecureSkipVerify");
  const port = whole("port", 8000, PORTS);
  const dataParallelSize = whole("dataParallelSize", 1, [1, 64]);
  const enginePort = whole("modelServerPort", whole("vllmPort", 8001, PORTS), PORTS);
  if (port + dataParallelSize > 65536 || enginePort + dataParallelSize > 65536) {
    throw new ConfigError(
      `--data-parallel-size ${dataParallelSize}: the ports of its ranks end beyond 65535`,
    );
  }
  return {
    host: text("host") ?? undefined,
    port,
    engineHost: text("modelServerHost") ?? "127.0.0.1",
    enginePort,
    dataParallelSize,
    connector: choice(text("kvConnector") === null ? "connector" : "kvConnector", CONNECTOR_NAMES, "nixlv2"),
    secureProxy: truth("secureProxy", true),
    certPath: text("certPath"),
    caFile: text("caFile"),
    decoderTls: truth("decoderUseTls", tls.has("decoder")),
    decoderInsecure: truth("decoderTlsInsecureSkipVerify", insecure.has("decoder")),
    prefillerTls: truth("prefillerUseTls", tls.has("prefiller")),
    prefillerInsecure: truth("prefillerTlsInsecureSkipVerify", insecure.has("prefiller")),
    ssrfProtection: truth("enableSsrfProtection", true),
    allowlistFile: text("allowlistFile"),
    inferencePool: inferencePool(text("inferencePool", "INFERENCE_POOL"), env),
    reservedFields: choice("reservedFields", ["reject", "strip", "allow"] as const, "reject"),
    prefillTimeoutMs: duration("prefillTimeout", 60_000),
    prefillFailure: choice("prefillFailure", ["fallback", "error"] as const, "fallback"),
    prefillMaxRetries: whole("prefillMaxRetries", 0, [0, 10]),
    prefillRetryBackoffMs: duration("prefillRetryBackoff", 200),
    prefillerSampling: truth("enablePrefillerSampling", false, "ENABLE_PREFILLER_SAMPLING"),
    prefillerPools: whole("prefillerPools", 16, [1, 65_536]),
    maxBodyBytes: whole("maxBodyBytes", 32 << 20, [1, 2 ** 31 - 1]),
    kvBlockBytes: whole("kvBlockBytes", 0, [0, 2 ** 40]),
    sglangBootstrapPort: whole("sglangBootstrapPort", 8998, PORTS, "SGLANG_BOOTSTRAP_PORT"),
    mooncakeBootstrapPort: whole("mooncakeBootstrapPort", 8998, PORTS, "MOONCAKE_BOOTSTRAP_PORT"),
    drainTimeoutMs: duration("drainTimeout", 60_000),
    podIp: env.POD_IP || null,
  };
}

const PORTS: [number, number] = [0, 65_535];

// INFERENCE_POOL is namespace/name; the two older variables name the parts.
function inferencePool(whole: string | null, env: NodeJS.ProcessEnv): string | null {
  if (whole !== null) return whole.includes("/") ? whole : `default/${whole}`;
  const name = env.INFERENCE_POOL_NAME;
  return name ? `${env.INFERENCE_POOL_NAMESPACE || "default"}/${name}` : null;
}
