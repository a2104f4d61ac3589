// Policies by name or file, compiled as the agent compiles them.
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { pointer } from "../agent/config/validate.js";
import { ConfigError } from "../agent/errors.js";
import { checkPolicy } from "../agent/policy/check.js";
import { NAMED_PROFILES } from "../agent/policy/named-profiles.js";
import { needsColumns } from "../agent/policy/program.js";
import { Wire } from "../agent/wire.js";
import type { Engine } from "./engine.js";

/** Rules to compare with, beside the named profiles. */
const BASELINES: Readonly<Record<string, object>> = {
  random: { plugins: [{ type: "random-picker" }] },
  "least-requests": { plugins: [{ type: "active-request-scorer" }, { type: "max-score-picker" }] },
  "blend-3-2-2": {
    plugins: [
      { type: "prefix-cache-scorer" },
      { type: "queue-scorer" },
      { type: "kv-cache-utilization-scorer" },
      { type: "max-score-picker" },
    ],
    schedulingProfiles: [
      {
        name: "default",
        plugins: [
          { pluginRef: "prefix-cache-scorer", weight: 3 },
          { pluginRef: "queue-scorer", weight: 2 },
          { pluginRef: "kv-cache-utilization-scorer", weight: 2 },
          { pluginRef: "max-score-picker" },
        ],
      },
    ],
  },
};

export const POLICY_NAMES: readonly string[] = [...Object.keys(NAMED_PROFILES), ...Object.keys(BASELINES)];

export interface SimPolicy {
  name: string;
  program: Parameters<Wire["setPolicy"]>[0];
}

/** Age at which scraped load is not used any more, ms: the agent's default. */
const LOAD_TTL_MS = 30_000;

/**
 * A named policy, or a file with a policy document (YAML or JSON).
 * @throws ConfigError when there is no such name or file, or the document has mistakes.
 */
export function findPolicy(nameOrFile: string): SimPolicy {
  const scheduling = NAMED_PROFILES[nameOrFile] ?? BASELINES[nameOrFile];
  const document = scheduling ? { scheduling } : readDocument(nameOrFile);
  const checked = checkPolicy(document);
  if (!checked.right)
    throw new ConfigError(
      checked.mistakes.map(({ path, message }) => `${nameOrFile}: ${pointer(path)}: ${message}`).join("\n"),
    );
  const { program } = checked;
  if (needsColumns(program.scheduling))
    throw new ConfigError(
      `${nameOrFile}: simulated pods have no labels, adapters or custom metrics; leave out the plugins that need them`,
    );
  return { name: nameOrFile, program: { ...program, version: 1, loadTtlMs: LOAD_TTL_MS } };
}

function readDocument(file: string): unknown {
  if (!existsSync(file))
    throw new ConfigError(`--policy ${file}: neither a file nor one of ${POLICY_NAMES.join(", ")}`);
  try {
    return parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read as YAML or JSON: ${(error as Error).message}`);
  }
}

/** Policy and pods as frames, as gateways get them. */
export async function framesOf(
  policy: SimPolicy,
  engine: Engine,
  pods: number,
  blockTokens: number,
): Promise<Uint8Array[]> {
  const wire = await Wire.create({
    secret: randomBytes(32),
    blockBytes: 128,
    maxEntries: 1000,
    leader: 1n,
    startMs: 0n,
  });
  const model = wire.addModel(engine.name);
  wire.setPolicy(policy.program);
  wire.setPods(
    Array.from({ length: pods }, (_, slot) => ({
      slot,
      name: `pod-${slot}`,
      address: `10.0.${slot >> 8}.${slot & 255}:8000`,
      role: "decode" as const,
      model,
      kvBlockTokens: blockTokens,
      capacityTokens: engine.capacity,
      prefillTokensPerSecond: engine.prefillRate,
      ready: true,
      waiting: 0,
      running: 0,
      kvUsage: 0,
      loadAgeMs: 0,
    })),
  );
  return wire.drain();
}
