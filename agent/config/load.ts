// warmgate.yaml → what the agent runs on: defaults filled in, paths resolved, contradictions refused.
import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { type Document, LineCounter, type Node, parseDocument } from "yaml";
import { ConfigError } from "../errors.js";
import type { LoadedPlugin } from "../load/column-plugins.js";
import { type HubModel, hubFile, isHubAddress, parseHubAddress } from "../model/tokenizer-hub.js";
import { packageRoot } from "../package-root.js";
import { type CheckedPolicy, checkPolicy } from "../policy/check.js";
import type { Note, PolicyProgram } from "../policy/compile.js";
import { digestOf } from "../policy/digest.js";
import type { Policy } from "../policy/document.js";
import type { Role } from "../wire.js";
import { durationMs } from "./duration.js";
import { type Environment, withEnvironment } from "./environment.js";
import { type ConfigDocument, ConfigSchema } from "./schema.js";
import { dotted, type Path, type Problem, problemsOf } from "./validate.js";

/** Where to listen; port 0 means a free one. */
export interface Listen {
  host: string;
  port: number;
}

export interface PodConfig {
  name: string;
  /** ip:port, as the gateway's cluster names the host. */
  address: string;
  role: Role;
  labels: Record<string, string>;
  /** The engine's PUB endpoint, null when it publishes nothing. */
  events: string | null;
  /** The engine's replay ROUTER, null when it has none. */
  replay: string | null;
  /** Base of the engine's own HTTP server, such as http://10.0.0.7:8000. */
  metricsBase: string;
  /** Uncached prefill rate to begin with, tokens per second. */
  prefillTokensPerSecond: number;
}

export interface PoolConfig {
  name: string;
  model: {
    name: string;
    tokenizerFile: string;
    /** Where the file comes from when it is not there; null: it is the operator's. */
    tokenizerHub: HubModel | null;
    /** The pods themselves tell the tokens; the file keeps what was learned. */
    tokenizerPods: boolean;
    template: "probe" | "none";
    aliases: string[];
    /** Memory of a token's keys and values in all layers, null when it is not told. */
    kvBytesPerToken: number | null;
  };
  pods: PodConfig[];
}

export interface AgentConfig {
  http: Listen;
  stream: Listen;
  /** Bearer token of the stream and the API; null = none asked for. */
  token: string | null;
  secretFile: string | null;
  /** Where pods may connect to publish KV events, such as tcp://127.0.0.1:5555; null = nowhere. */
  zmqBind: string | null;
  /** Blocks known by JSON events: how long they are believed, how many, how often old ones are looked for. ms. */
  index: { ttlMs: number; maxBlocks: number; cleanupMs: number };
  stateFolder: string;
  /** All in ms. */
  scrape: { intervalMs: number; timeoutMs: number; ttlMs: number };
  pools: PoolConfig[];
  /** Modules that fill columns (`--plugin`). */
  plugins: readonly LoadedPlugin[];
  /** What gateways run. */
  policy: PolicyProgram;
  /** The policy that the file says, with nothing left out. */
  policyDocument: Policy;
  /** What of it does not act as it is written. */
  policyNotes: Note[];
  /** Digest of the file's policy as it is written there: another one means that somebody changed it. */
  policyDigest: string;
}

/** Prefill rate assumed until a pod shows its own: an 8B model on an H200 (docs/rationale.md). */
const DEFAULT_PREFILL_TOKENS_PER_SECOND = 40_000;

/**
 * Reads and checks a configuration file, then the environment.
 * @throws ConfigError naming file, line, column, key and remedy of every mistake found.
 */
export function loadConfig(file: string, plugins: readonly LoadedPlugin[] = []): AgentConfig {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(
      `${file}: cannot be read (${(error as NodeJS.ErrnoException).code}); give a file with --config`,
    );
  }
  return withEnvironment(parseConfig(text, file, plugins), process.env as Environment);
}

/** As `loadConfig`, from the file's text; `file` names it in errors and is the base of relative paths. */
export function parseConfig(text: string, file: string, plugins: readonly LoadedPlugin[] = []): AgentConfig {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, merge: false });
  const problems: Problem[] = doc.errors.map((e) => ({
    line: e.linePos?.[0].line ?? 1,
    column: e.linePos?.[0].col ?? 1,
    path: [],
    message: e.message.split("\n")[0]!.replace(/ at line \d+, column \d+:?$/, ""),
  }));
  if (problems.length === 0) problems.push(...problemsOf(doc, lines, ConfigSchema));
  fail(file, problems);
  const document = doc.toJS() as ConfigDocument;
  const at = (path: Path, message: string): Problem => {
    const { line, col } = lines.linePos(nodeNear(doc, path)?.range?.[0] ?? 0);
    return { line: Math.max(1, line), column: Math.max(1, col), path, message };
  };
  const contradictions = contradictionsOf(document, at);
  const policy = checkPolicy(
    document.policy ?? {},
    plugins.map(({ name }) => name),
  );
  if (!policy.right) contradictions.push(...policy.mistakes.map((m) => at(["policy", ...m.path], m.message)));
  fail(file, contradictions);
  return normalize(document, policy as CheckedPolicy, plugins, file, (path, message) => {
    fail(file, [at(path, message)]);
    throw new ConfigError(message);
  });
}

/** The node at a path, or the nearest one above it. */
function nodeNear(doc: Document, path: Path): Node | undefined {
  for (let depth = path.length; depth > 0; depth--) {
    const node = doc.getIn(path.slice(0, depth), true) as Node | undefined;
    if (node?.range) return node;
  }
  return undefined;
}

function fail(file: string, problems: Problem[]): void {
  if (problems.length === 0) return;
  throw new ConfigError(
    problems
      .map(
        (p) =>
          `${file}:${p.line}:${p.column}: ${p.path.length === 0 ? "" : `${dotted(p.path)}: `}${p.message}`,
      )
      .join("\n"),
  );
}

type At = (path: Path, message: string) => Problem;

function contradictionsOf(doc: ConfigDocument, at: At): Problem[] {
  const problems: Problem[] = [];
  for (const key of ["http", "stream", "events"] as const) {
    const address = doc.listen?.[key];
    if (address === undefined) continue;
    if (Number(portOf(address)) > 65535) problems.push(at(["listen", key], "the port is above 65535"));
    if (!isLoopback(hostOf(address)) && doc.tokenFile === undefined)
      problems.push(
        at(["listen", key], `${address} is not a loopback address; set tokenFile, or listen on 127.0.0.1`),
      );
  }
  const names = new Map<string, string>();
  const addresses = new Map<string, string>();
  const pools = new Set<string>();
  let pods = 0;
  doc.pools.forEach((pool, i) => {
    if (pools.has(pool.name)) problems.push(at(["pools", i, "name"], `another pool is called ${pool.name}`));
    pools.add(pool.name);
    pool.pods.forEach((pod, j) => {
      pods++;
      const path = `pools[${i}].pods[${j}]`;
      const sameName = names.get(pod.name);
      if (sameName)
        problems.push(at(["pools", i, "pods", j, "name"], `${sameName} is called ${pod.name} too`));
      const sameAddress = addresses.get(pod.address);
      if (sameAddress)
        problems.push(
          at(["pools", i, "pods", j, "address"], `${sameAddress} has the address ${pod.address} too`),
        );
      if (pod.replay !== undefined && pod.events === undefined)
        problems.push(
          at(["pools", i, "pods", j, "replay"], "replay needs events, the endpoint that publishes"),
        );
      names.set(pod.name, path);
      addresses.set(pod.address, path);
    });
  });
  if (pods > 1024) problems.push(at(["pools"], `${pods} pods, at most 1024 are possible`));
  return problems;
}

function normalize(
  doc: ConfigDocument,
  policy: CheckedPolicy,
  plugins: readonly LoadedPlugin[],
  file: string,
  refuse: (path: Path, message: string) => never,
): AgentConfig {
  const base = dirname(resolve(file));
  let token: string | null = null;
  if (doc.tokenFile !== undefined) {
    token = readText(resolve(base, doc.tokenFile), (why) => refuse(["tokenFile"], why)).trim();
    if (token.length < 16) refuse(["tokenFile"], "the token needs at least 16 characters");
  }
  const stateFolder = resolve(base, doc.state ?? ".warmgate/state");
  return {
    http: listen(doc.listen?.http ?? "127.0.0.1:8080"),
    stream: listen(doc.listen?.stream ?? "127.0.0.1:8081"),
    token,
    secretFile: doc.secretFile === undefined ? null : resolve(base, doc.secretFile),
    zmqBind: doc.listen?.events === undefined ? null : `tcp://${doc.listen.events}`,
    index: {
      ttlMs: durationMs(doc.index?.ttl ?? "1h"),
      maxBlocks: doc.index?.maxBlocks ?? 1_000_000,
      cleanupMs: durationMs(doc.index?.cleanupInterval ?? "5m"),
    },
    stateFolder,
    scrape: {
      intervalMs: durationMs(doc.scrape?.interval ?? "5s"),
      timeoutMs: durationMs(doc.scrape?.timeout ?? "2s"),
      ttlMs: durationMs(doc.scrape?.ttl ?? "30s"),
    },
    pools: doc.pools.map((pool, i) => ({
      name: pool.name,
      model: {
        name: pool.model.name,
        ...tokenizerSource(pool.model, base, stateFolder, (why) =>
          refuse(["pools", i, "model", "tokenizer"], why),
        ),
        template: pool.model.template ?? "probe",
        aliases: pool.model.aliases ?? [],
        kvBytesPerToken: pool.model.kvBytesPerToken ?? null,
      },
      pods: pool.pods.map((pod) => ({
        name: pod.name,
        address: pod.address,
        role: pod.role ?? "decode",
        labels: pod.labels ?? {},
        events: pod.events ?? null,
        replay: pod.replay ?? null,
        metricsBase: `http://${bracketed(hostOf(pod.address))}:${pod.metricsPort ?? portOf(pod.address)}`,
        prefillTokensPerSecond: pod.prefillTokensPerSecond ?? DEFAULT_PREFILL_TOKENS_PER_SECOND,
      })),
    })),
    plugins,
    policy: policy.program,
    policyDocument: policy.policy,
    policyNotes: policy.notes,
    policyDigest: digestOf(doc.policy ?? {}),
  };
}

function readText(path: string, refuse: (why: string) => never): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return refuse(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** In place of a file: the pods tell their tokens. */
const FROM_PODS = "pods";

function tokenizerSource(
  { name, tokenizer: given }: { name: string; tokenizer: string },
  base: string,
  stateFolder: string,
  refuse: (why: string) => never,
): { tokenizerFile: string; tokenizerHub: HubModel | null; tokenizerPods: boolean } {
  const own = { tokenizerHub: null, tokenizerPods: false };
  if (given === FROM_PODS)
    return {
      ...own,
      tokenizerFile: join(stateFolder, "tokenizers", `pods-${encodeURIComponent(name)}.json`),
      tokenizerPods: true,
    };
  if (!isHubAddress(given)) return { ...own, tokenizerFile: tokenizerFile(given, base, refuse) };
  const model =
    parseHubAddress(given) ??
    refuse(`${given} is not of the form hf://owner/name or hf://owner/name@revision`);
  return { ...own, tokenizerFile: hubFile(stateFolder, model), tokenizerHub: model };
}

/** A tokenizer.json by file, by folder, or by module path (`package/models/tokenizer.json`). */
function tokenizerFile(given: string, base: string, refuse: (why: string) => never): string {
  const tried: string[] = [];
  const inFolder = (path: string): string | null => {
    tried.push(path);
    if (!existsSync(path)) return null;
    if (!statSync(path).isDirectory()) return path;
    const file = join(path, "tokenizer.json");
    return existsSync(file) ? file : null;
  };
  const local = inFolder(resolve(base, given));
  if (local) return local;
  for (const from of [join(base, "warmgate.yaml"), join(packageRoot(), "package.json")]) {
    try {
      return createRequire(from).resolve(given);
    } catch {
      const inModules = inFolder(join(dirname(from), "node_modules", given));
      if (inModules) return inModules;
    }
  }
  return refuse(`no tokenizer.json at ${tried.join(", ")}; give the file, its folder, or a module path`);
}

function listen(address: string): Listen {
  return { host: hostOf(address), port: Number(portOf(address)) };
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}

function portOf(address: string): string {
  return address.slice(address.lastIndexOf(":") + 1);
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function isLoopback(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}
