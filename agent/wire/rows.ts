// What the index and the table of gateways are told, row by row.
import type { TurnProgram } from "../model/turn-program.js";
import type { SchedulingProgram } from "../policy/program.js";

/** How a store went. `Orphan`: its parent is unknown on this pod. `UnknownToken`: blocks before the token are kept. */
export enum StoreStatus {
  Ok = 0,
  Orphan = 1,
  UnknownToken = 2,
  BadShape = 3,
}

export interface WireOptions {
  /** At least 32 random bytes; all keys are derived from the first 32. */
  secret: Uint8Array;
  /** Bytes of a text block: 64, 128 or 256. One value everywhere. */
  blockBytes: number;
  /** Most prefix entries that are published. */
  maxEntries: number;
  /** Identity of this agent process as leader. */
  leader: bigint;
  /** When it began to lead, ms since the epoch. */
  startMs: bigint;
}

/** Bytes of each token id: id i has bytes [offsets[i], offsets[i+1]) when known[i] is 1. */
export interface TokenBytes {
  offsets: Uint32Array;
  bytes: Uint8Array;
  known: Uint8Array;
}

/** Where an engine holds a block. A text is on a pod as long as one of its tiers has it. */
export enum Tier {
  Gpu = 0,
  Cpu = 1,
}

/** Consecutive KV blocks of one BlockStored event; tokens.length = hashes.length × blockSize. */
export interface StoredBlocks {
  hashes: BigUint64Array;
  parent: bigint | null;
  tokens: Uint32Array;
  /** Tokens per block. */
  blockSize: number;
  lora: string;
  salt: string;
}

export type Role = "decode" | "prefill" | "both";

export interface LoadRow {
  /** 0–1023. */
  slot: number;
  ready: boolean;
  waiting: number;
  running: number;
  /** 0–1. */
  kvUsage: number;
  /** Age of the load columns in ms; Infinity when they were never read. */
  loadAgeMs: number;
}

export interface PodRow extends LoadRow {
  name: string;
  /** ip:port, as the gateway's cluster names the host. */
  address: string;
  role: Role;
  /** Id from `addModel`. */
  model: number;
  kvBlockTokens: number;
  /** What it announces is not known or not believed: its prompts are matched approximately. */
  approximate?: boolean;
  capacityTokens: number;
  /** Uncached prefill rate in tokens per second. */
  prefillTokensPerSecond: number;
}

/** White space that the template strips from a content: Python's str.strip sets. */
export type Strip = "raw" | "both" | "left" | "right";

/** Kinds of a joint: 0 start, 1 system, 2 user, 3 assistant, 4 end, 5 end with a generation prompt. */
export interface TemplateProgram {
  /** [previous][next]: literal bytes, null = never seen, which makes a request inexact. */
  joints: (Uint8Array | null)[][];
  strip: { system: Strip; user: Strip; assistant: Strip };
  /** What the tokenizer puts before a raw prompt; null when raw prompts are not exact. */
  bos: Uint8Array | null;
  /** Lists of text parts are not exact. */
  partsUnknown: boolean;
  joinParts: "\n" | "";
  /** Roles whose empty texts are not exact. */
  emptyUnknown: { system: boolean; user: boolean; assistant: boolean };
  /** Assistant text with "</think>" in it is not exact. */
  thinkUnknown: boolean;
  /** What the joints above do not cover, for requests without tools and with them; null = not exact. */
  turns: { plain: TurnProgram | null; tools: TurnProgram | null };
  /** What `enable_thinking: false` adds to the generation prompt, where true adds nothing; null = not exact. */
  thinkingOff?: Uint8Array | null;
}

export interface ModelRow {
  /** What a request may call it: served name, alias or LoRA adapter. */
  name: string;
  model: number;
  lora: string;
  template: TemplateProgram | null;
  bytesPerToken: number;
}

/** What the policy's plugins need of one pod. */
export interface ColumnRow {
  slot: number;
  /** Bit i: the pod is taken by label selector i. */
  labels: bigint;
  /** Custom columns: a number (NaN = missing), or the text of a label whose hash counts (null = missing). */
  columns: (number | string | null)[];
  /** Adapters by name; those that run, those that are waited for. */
  activeAdapters: string[];
  waitingAdapters: string[];
  /** Adapters that the pod can run at once. */
  maxAdapters: number;
  /** Id from `addModel`. */
  model: number;
}

export interface TablePolicy {
  version: number;
  scheduling: SchedulingProgram;
  bodyReadBytes: number;
  debugHeaders: "none" | "trusted" | "all";
  reservedFields: "reject" | "allow";
  isolation: "none" | "salt";
  /** How long a table is used without the agent, ms. */
  staleMaxMs: number;
  /** Load columns older than this are not used, ms. */
  loadTtlMs: number;
}

/** Rules for requests, apart from how pods are ranked. Texts are at most 65,535 bytes, all of them 60 KiB. */
export interface RulesProgram {
  callers: {
    /** URI SANs or subjects of client certificates; a final "*" stands for any end. */
    principals: string[];
    claim: { header: string; values: string[] } | null;
    /** SHA-256 of each trusted credential. */
    tokens: Uint8Array[];
  };
  /** Caps; 0 ms: the client's wish is not honoured. */
  maxTimeoutMs: number;
  maxRetries: number;
  /** Priority by objective name; below zero is sheddable. */
  objectives: { name: string; priority: number }[];
  /** Models that trusted callers may ask for instead of the body's. */
  overrides: string[];
  rewrites: { model: string; targets: { model: string; weight: number }[] }[];
  saturation: {
    detector: "none" | "utilization-detector" | "concurrency-detector";
    queueDepthThreshold: number;
    /** 0–1. */
    kvCacheUtilThreshold: number;
    headroom: number;
    concurrencyMode: "requests" | "tokens" | "hybrid";
    maxConcurrency: number;
    maxTokenConcurrency: number;
  };
  /** Bounds are per gateway worker. */
  queue: { enabled: boolean; maxRequests: number; maxBytes: number; maxBodyBytes: number; ttlMs: number };
  /** Share of decisions that are recorded, 0–1. */
  sampleRate: number;
  /** Whether decisions are put into filter state, for access logs. */
  filterState: boolean;
  /** In-flight counts of other gateways that are older count as slow, ms. */
  slowSharingMs: number;
  /** Whether warm-until-busy decides also then. */
  keepWhenSlow: boolean;
  /** Whether the gateway's own filters may say in metadata which pods a request may go to. */
  subsetMetadata: boolean;
}

/** The disaggregation section: agent/policy/disaggregation.ts has the document's side. */
export interface DisaggregationProgram {
  mode: "none" | "pays" | "always";
  by: "gateway" | "sidecar";
  /** Uncached tokens above which a split is considered. */
  threshold: number;
  /** Tokens of the shortest prompt that is considered. */
  promptTokens: number;
  timeoutMs: number;
  onFailure: "local" | "error";
  maxConcurrent: number;
  maxBodyBytes: number;
  blocksExpireMs: number;
  transferTokensPerSecond: number;
  stallWeight: number;
}

export interface WireStats {
  blocks: number;
  entries: number;
  sets: number;
  /** Memory of index and table in bytes. */
  bytes: number;
  refusedEntries: number;
  bytesSeen: number;
  tokensSeen: number;
}

/** What a pod holds of a text, from its beginning. */
export interface HeldPrefix {
  /** Whole text blocks. */
  blocks: number;
  /** Tokens up to the end of the last one, in units of 16, and up to the end of the one before it. */
  tokens: number;
  tokensBefore: number;
}
