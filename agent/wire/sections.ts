// Sections of the table as bytes in the module: each function writes one and returns the length of its frame.
import { writeTemplate } from "../model/turn-layout.js";
import type { ProgramNumber, SchedulingProgram } from "../policy/program.js";
import type { WireMemory } from "./memory.js";
import type {
  ColumnRow,
  DisaggregationProgram,
  LoadRow,
  ModelRow,
  PodRow,
  RulesProgram,
  TablePolicy,
  TemplateProgram,
} from "./rows.js";

/** Root hash of a model's chains under a LoRA adapter and a cache salt ("" = none). */
export type RootOf = (model: number, lora: string, salt: string) => bigint;

const DETECTORS = { none: 0, "utilization-detector": 1, "concurrency-detector": 2 } as const;
const CONCURRENCY_MODES = { requests: 0, tokens: 1, hybrid: 2 } as const;
const SPLITS = { none: 0, pays: 1, always: 2 } as const;
const DEBUG = { none: 0, trusted: 1, all: 2 } as const;
const ROLES = { decode: 1, prefill: 2, both: 3 } as const;

const text = new TextEncoder();

/** `loads` are newer than what the rows say of the same pods. */
export function podsFrame(m: WireMemory, rows: PodRow[], loads: LoadRow[]): number {
  const { x } = m;
  x.sectionBegin!();
  for (const r of rows) {
    const load = loads.find((l) => l.slot === r.slot) ?? r;
    const name = text.encode(r.name).subarray(0, 255);
    const address = text.encode(r.address).subarray(0, 255);
    const at = m.put(new Uint8Array([...name, ...address]));
    x.podRow!(
      r.slot,
      (load.ready ? 1 : 0) | (r.approximate ? 2 : 0),
      ROLES[r.role],
      r.model,
      r.kvBlockTokens,
      r.capacityTokens,
      load.waiting,
      load.running,
      Math.round(load.kvUsage * 1000),
      age(load.loadAgeMs),
      r.prefillTokensPerSecond,
      at,
      name.length,
      at + name.length,
      address.length,
    );
  }
  return x.sectionFrame!(m.number("kindPods"), x.sectionEnd!());
}

export function loadsFrame(m: WireMemory, rows: LoadRow[]): number {
  const { x } = m;
  x.sectionBegin!();
  for (const r of rows)
    x.loadRow!(r.slot, r.ready ? 1 : 0, r.waiting, r.running, Math.round(r.kvUsage * 1000), age(r.loadAgeMs));
  return x.sectionFrame!(m.number("kindLoads"), x.sectionEnd!());
}

export function modelsFrame(m: WireMemory, rows: ModelRow[], root: RootOf): number {
  const { x } = m;
  const roots = rows.map((r) => root(r.model, r.lora, ""));
  x.sectionBegin!();
  const templates = new Map<TemplateProgram, number>();
  rows.forEach((r, i) => {
    let index = 0xffff;
    if (r.template) {
      index = templates.get(r.template) ?? writeTemplate(m.x, (bytes) => m.put(bytes), r.template);
      templates.set(r.template, index);
    }
    const name = text.encode(r.name);
    x.modelRow!(r.model, index, roots[i]!, r.bytesPerToken, m.put(name), name.length);
  });
  return x.sectionFrame!(m.number("kindModels"), x.sectionEnd!());
}

/** @throws RangeError when a part of the program is unknown or beyond the limits. */
export function policyFrame(m: WireMemory, p: TablePolicy): number {
  writeProgram(m, p.scheduling);
  return m.x.sectionFrame!(
    m.number("kindPolicy"),
    m.x.policySection!(
      p.version,
      p.bodyReadBytes,
      DEBUG[p.debugHeaders],
      p.staleMaxMs,
      p.loadTtlMs,
      p.reservedFields === "reject" ? 0 : 1,
      p.isolation === "salt" ? 1 : 0,
    ),
  );
}

function writeProgram(m: WireMemory, p: SchedulingProgram): void {
  const { x } = m;
  const need = (room: number | undefined, what: string) => {
    if (!room) throw new RangeError(`the scheduling program has too many ${what}`);
  };
  x.programBegin!(
    named(m, `Handler.${p.handler}`),
    p.main,
    p.prefill ?? m.number("noProfile"),
    p.profileHeader,
  );
  for (const header of p.headers) {
    const name = text.encode(header);
    need(x.programHeader!(m.put(name), name.length), "headers");
  }
  for (const profile of p.profiles) {
    const name = text.encode(profile.name);
    need(x.programProfile!(m.put(name), name.length, ROLES[profile.role]), "profiles");
    for (const { op, flags, a, weight, p } of profile.ops)
      need(x.programOp!(named(m, `Op.${op}`), flags, numbered(m, a), weight, ...p), "plugins");
  }
  for (const { code, argument, constant } of p.code)
    need(x.programCode!(named(m, `Code.${code}`), numbered(m, argument), constant), "expressions");
}

/** A number that the module exports under a name. */
function named(m: WireMemory, name: string): number {
  if (!m.knows(name)) throw new RangeError(`the scheduling program knows no ${name}`);
  return m.number(name);
}

function numbered(m: WireMemory, n: ProgramNumber): number {
  return typeof n === "number" ? n : named(m, n);
}

export function columnsFrame(m: WireMemory, rows: ColumnRow[], root: RootOf): number {
  const width = m.number("maxColumns");
  const most = m.number("maxAdapters");
  const { x } = m;
  x.sectionBegin!();
  for (const r of rows) {
    const active = r.activeAdapters.slice(0, most);
    const waiting = r.waitingAdapters.slice(0, most - active.length);
    const roots = [...active, ...waiting].map((name) => root(r.model, name, ""));
    const values = new DataView(new ArrayBuffer(width * 4 + roots.length * 8));
    for (let i = 0; i < width; i++) {
      const v = r.columns[i] === undefined ? Number.NaN : r.columns[i]!;
      if (typeof v === "number") values.setFloat32(i * 4, v, true);
      else if (v === null) values.setUint32(i * 4, 0, true);
      else values.setUint32(i * 4, labelHash(m, v), true);
    }
    for (const [i, root] of roots.entries()) values.setBigUint64(width * 4 + i * 8, root, true);
    x.columnRow!(
      r.slot,
      active.length,
      waiting.length,
      Math.min(r.maxAdapters, 0xffff),
      r.labels,
      m.put(new Uint8Array(values.buffer)),
    );
  }
  return x.sectionFrame!(m.number("kindColumns"), x.sectionEnd!());
}

function labelHash(m: WireMemory, value: string): number {
  const bytes = text.encode(value);
  m.put(bytes);
  return m.x.labelHash!(bytes.length) >>> 0;
}

export function rulesFrame(m: WireMemory, r: RulesProgram): number {
  const { x } = m;
  const { saturation: s, queue: q } = r;
  x.rulesBegin!(
    (q.enabled ? 1 : 0) | (r.filterState ? 2 : 0) | (r.keepWhenSlow ? 4 : 0) | (r.subsetMetadata ? 8 : 0),
    r.maxTimeoutMs,
    r.maxRetries,
    DETECTORS[s.detector],
    CONCURRENCY_MODES[s.concurrencyMode],
    r.slowSharingMs,
    s.queueDepthThreshold,
    s.kvCacheUtilThreshold,
    s.headroom,
    s.maxConcurrency,
    s.maxTokenConcurrency,
    q.maxRequests,
    q.maxBytes,
    q.maxBodyBytes,
    q.ttlMs,
    Math.min(0xffffffff, Math.round(r.sampleRate * 0x100000000)),
  );
  const row = (kind: string, value: string | Uint8Array, number = 0) => {
    const bytes = typeof value === "string" ? text.encode(value) : value;
    x.ruleRow!(m.number(kind), number, m.put(bytes), bytes.length);
  };
  for (const principal of r.callers.principals) row("rulePrincipal", principal);
  if (r.callers.claim) {
    row("ruleClaimHeader", r.callers.claim.header);
    for (const value of r.callers.claim.values) row("ruleClaimValue", value);
  }
  for (const digest of r.callers.tokens) row("ruleToken", digest);
  for (const { name, priority } of r.objectives) row("ruleObjective", name, priority);
  for (const model of r.overrides) row("ruleOverride", model);
  for (const { model, targets } of r.rewrites) {
    row("ruleRewrite", model);
    for (const t of targets) row("ruleTarget", t.model, t.weight);
  }
  return x.sectionFrame!(m.number("kindRules"), x.rulesEnd!());
}

export function disaggregationFrame(m: WireMemory, d: DisaggregationProgram): number {
  return m.x.sectionFrame!(
    m.number("kindDisaggregation"),
    m.x.disaggregationSection!(
      SPLITS[d.mode],
      d.threshold,
      d.timeoutMs,
      d.onFailure === "local" ? 0 : 1,
      d.maxConcurrent,
      d.maxBodyBytes,
      d.blocksExpireMs,
      d.promptTokens,
      d.transferTokensPerSecond,
      d.stallWeight,
      d.by === "gateway" ? 0 : 1,
    ),
  );
}

function age(ms: number): number {
  return Number.isFinite(ms) ? Math.min(0xfffffffe, Math.max(0, Math.round(ms))) : 0xffffffff;
}
