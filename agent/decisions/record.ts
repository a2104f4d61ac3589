// One decision as gateways record it, as an object and as bytes; wasm/shared/decision-layout.ts has the offsets.

/** Order of the reasons is that of wasm/shared/decision-layout.ts. */
export const DECISION_REASONS = [
  "routed",
  "no_table",
  "no_pods",
  "filtered_out",
  "saturated",
  "not_cached",
  "subset_empty",
] as const;

/** One request's way to its pod, as a gateway worker saw it. */
export interface Decision {
  kind: "decision";
  processId: bigint;
  vmId: bigint;
  tableSequence: number;
  policyVersion: number;
  reason: (typeof DECISION_REASONS)[number];
  requestId: string;
  model: number;
  promptTokens: number;
  predictedTokens: number;
  priority: number;
  schedulingMicros: number;
  passed: number;
  considered: number;
  /** What the pick knew of the request; null when there was none. */
  pick: PickFacts | null;
  /** Best first, then by slot; as they were before the request counted anywhere. */
  candidates: DecisionCandidate[];
}

/** 64-bit numbers are hex digits: hashes and random bits, none of them anybody's own text. */
export interface PickFacts {
  /** Index of the profile in the program. */
  profile: number;
  /** Counts of other gateways came late, and so token-aware stood in for warm-until-busy. */
  sharingSlow: boolean;
  stoodIn: boolean;
  /** Whether every pod that could be chosen is among the candidates; else the decision cannot be replayed. */
  complete: boolean;
  columnsFresh: boolean;
  promptTokens: number;
  spread: string;
  session: string;
  seed: string;
  perPodRate: number;
  /** The worker's monotonic clock, ns, decimal. */
  timeNs: string;
  headers: string[];
}

export interface DecisionCandidate {
  address: string;
  /** 1 is the pod, 2 and 3 come next, 0 the others. */
  rank: number;
  /** As they counted in the pick. */
  cachedTokens: number;
  /** Lower is better; seconds with warm-until-busy, the negated sum of weighted scores otherwise. */
  cost: number;
  inflightRequests: number;
  pendingPrefills: number;
  slot: number;
  /** Place in the order of last choices, 1 = longest ago, 0 = none; of all, and of those that hit no cache. */
  turn: number;
  coldTurn: number;
  /** Prefill work without a first token, in tokens of a short prompt. */
  pendingWork: number;
  pendingTokens: number;
  /** Since when the first of these is at work, ns of the worker's clock, decimal; "0" = none is. */
  headSinceNs: string;
  waiting: number;
  running: number;
  /** 0–1. */
  kvUsage: number;
  capacityTokens: number;
  prefillTokensPerSecond: number;
  /** Whether the scraped columns were young enough to use. */
  loadFresh: boolean;
  /** Left out because it refused connections. */
  out: boolean;
  /** It had the session. */
  session: boolean;
  adapter: { active: boolean; waiting: boolean; room: boolean };
  /** Label selectors that take it, hex. */
  labels: string;
  /** Bits of its custom columns, which are f32 or hashes; empty when the policy has none. */
  columns: number[];
}

/** Sizes that a wasm module exports. */
export interface DecisionSizes {
  head: number;
  row: number;
}

const FLAGS = { sharingSlow: 1, stoodIn: 2, cut: 4, columnsFresh: 8 } as const;
const ROW = { fresh: 1, out: 2, session: 4, active: 8, waiting: 16, room: 32 } as const;
const HEADERS = 4;
/** Bytes; readers refuse more. */
const MAX_ADDRESS = 64;

const utf8 = new TextDecoder();
const text = new TextEncoder();
const hex = (n: bigint) => n.toString(16);
const padded = (n: number) => (n + 7) & ~7;

/** Reads a payload; null when it is not whole. */
export function decodeDecision(
  view: DataView,
  sizes: DecisionSizes,
  sender: { processId: bigint; vmId: bigint },
): Decision | null {
  if (view.byteLength < sizes.head) return null;
  const name = (at: number, length: number) =>
    at + length <= view.byteLength
      ? utf8.decode(new Uint8Array(view.buffer, view.byteOffset + at, length))
      : null;
  const idSize = view.getUint16(32, true);
  const requestId = name(sizes.head, idSize);
  if (requestId === null) return null;
  const columns = view.getUint8(122);
  const candidates: DecisionCandidate[] = [];
  let p = sizes.head + padded(idSize);
  for (let left = view.getUint16(34, true); left > 0; left--) {
    const addressAt = p + sizes.row + columns * 4;
    if (addressAt > view.byteLength) return null;
    const size = view.getUint16(p, true);
    const address = name(addressAt, size);
    if (address === null) return null;
    const flags = view.getUint8(p + 3);
    candidates.push({
      address,
      rank: view.getUint8(p + 2),
      cachedTokens: view.getUint32(p + 4, true),
      cost: view.getFloat64(p + 8, true),
      inflightRequests: view.getUint32(p + 16, true),
      pendingPrefills: view.getUint32(p + 20, true),
      slot: view.getUint16(p + 24, true),
      turn: view.getUint16(p + 26, true),
      coldTurn: view.getUint16(p + 28, true),
      pendingWork: view.getFloat64(p + 32, true),
      pendingTokens: view.getFloat64(p + 40, true),
      headSinceNs: view.getBigUint64(p + 48, true).toString(),
      waiting: view.getUint32(p + 56, true),
      running: view.getUint32(p + 60, true),
      kvUsage: view.getUint32(p + 64, true) / 1000,
      capacityTokens: view.getUint32(p + 68, true),
      prefillTokensPerSecond: view.getFloat64(p + 72, true),
      loadFresh: (flags & ROW.fresh) !== 0,
      out: (flags & ROW.out) !== 0,
      session: (flags & ROW.session) !== 0,
      adapter: {
        active: (flags & ROW.active) !== 0,
        waiting: (flags & ROW.waiting) !== 0,
        room: (flags & ROW.room) !== 0,
      },
      labels: hex(view.getBigUint64(p + 80, true)),
      columns: Array.from({ length: columns }, (_, i) => view.getUint32(p + sizes.row + i * 4, true)),
    });
    p = addressAt + padded(size);
  }
  const flags = view.getUint8(121);
  const u64 = (at: number) => hex(view.getBigUint64(at, true));
  const timeNs = view.getBigUint64(80, true);
  return {
    kind: "decision",
    ...sender,
    tableSequence: Number(view.getBigUint64(0, true)),
    policyVersion: view.getUint32(8, true),
    reason: DECISION_REASONS[view.getUint8(12)] ?? "routed",
    requestId,
    model: view.getUint16(14, true),
    promptTokens: view.getUint32(16, true),
    predictedTokens: view.getUint32(20, true),
    priority: view.getInt32(24, true),
    schedulingMicros: view.getUint32(28, true),
    passed: view.getUint16(36, true),
    considered: view.getUint16(38, true),
    pick:
      timeNs === 0n
        ? null
        : {
            profile: view.getUint8(120),
            sharingSlow: (flags & FLAGS.sharingSlow) !== 0,
            stoodIn: (flags & FLAGS.stoodIn) !== 0,
            complete: (flags & FLAGS.cut) === 0,
            columnsFresh: (flags & FLAGS.columnsFresh) !== 0,
            promptTokens: view.getFloat64(40, true),
            spread: u64(48),
            session: u64(56),
            seed: u64(64),
            perPodRate: view.getFloat64(72, true),
            timeNs: timeNs.toString(),
            headers: Array.from({ length: HEADERS }, (_, i) => u64(88 + i * 8)),
          },
    candidates,
  };
}

/**
 * Writes what a replay reads of a decision.
 * @throws RangeError when a value cannot be what a gateway recorded.
 */
export function encodePick(
  pick: PickFacts,
  candidates: readonly DecisionCandidate[],
  sizes: DecisionSizes,
): Uint8Array {
  const columns = candidates[0]?.columns.length ?? 0;
  const addresses = candidates.map(({ address }) => text.encode(address));
  if (addresses.some((a) => a.length > MAX_ADDRESS)) throw new RangeError("an address is too long");
  if (candidates.some((c) => c.columns.length !== columns))
    throw new RangeError("candidates have different numbers of columns");
  const width = sizes.row + columns * 4;
  const bytes = new Uint8Array(sizes.head + addresses.reduce((n, a) => n + width + padded(a.length), 0));
  const view = new DataView(bytes.buffer);
  const u64 = (at: number, digits: string) => view.setBigUint64(at, hexNumber(digits), true);
  view.setUint16(34, candidates.length, true);
  view.setFloat64(40, pick.promptTokens, true);
  u64(48, pick.spread);
  u64(56, pick.session);
  u64(64, pick.seed);
  view.setFloat64(72, pick.perPodRate, true);
  view.setBigUint64(80, decimal(pick.timeNs), true);
  for (const [i, hash] of pick.headers.slice(0, HEADERS).entries()) u64(88 + i * 8, hash);
  view.setUint8(120, pick.profile);
  view.setUint8(
    121,
    bits([
      [pick.sharingSlow, FLAGS.sharingSlow],
      [pick.stoodIn, FLAGS.stoodIn],
      [!pick.complete, FLAGS.cut],
      [pick.columnsFresh, FLAGS.columnsFresh],
    ]),
  );
  view.setUint8(122, columns);
  let p = sizes.head;
  candidates.forEach((c, i) => {
    view.setUint16(p, addresses[i]!.length, true);
    view.setUint8(p + 2, c.rank);
    view.setUint8(
      p + 3,
      bits([
        [c.loadFresh, ROW.fresh],
        [c.out, ROW.out],
        [c.session, ROW.session],
        [c.adapter.active, ROW.active],
        [c.adapter.waiting, ROW.waiting],
        [c.adapter.room, ROW.room],
      ]),
    );
    view.setUint32(p + 4, c.cachedTokens, true);
    view.setFloat64(p + 8, c.cost, true);
    view.setUint32(p + 16, c.inflightRequests, true);
    view.setUint32(p + 20, c.pendingPrefills, true);
    view.setUint16(p + 24, c.slot, true);
    view.setUint16(p + 26, c.turn, true);
    view.setUint16(p + 28, c.coldTurn, true);
    view.setFloat64(p + 32, c.pendingWork, true);
    view.setFloat64(p + 40, c.pendingTokens, true);
    view.setBigUint64(p + 48, decimal(c.headSinceNs), true);
    view.setUint32(p + 56, c.waiting, true);
    view.setUint32(p + 60, c.running, true);
    view.setUint32(p + 64, Math.round(c.kvUsage * 1000), true);
    view.setUint32(p + 68, c.capacityTokens, true);
    view.setFloat64(p + 72, c.prefillTokensPerSecond, true);
    u64(p + 80, c.labels);
    for (const [k, column] of c.columns.entries()) view.setUint32(p + sizes.row + k * 4, column, true);
    bytes.set(addresses[i]!, p + width);
    p += width + padded(addresses[i]!.length);
  });
  return bytes;
}

function bits(flags: [on: boolean, bit: number][]): number {
  return flags.reduce((sum, [on, bit]) => sum | (on ? bit : 0), 0);
}

function hexNumber(digits: string): bigint {
  if (!/^[0-9a-f]{1,16}$/.test(digits)) throw new RangeError(`${JSON.stringify(digits)} is no 64-bit number`);
  return BigInt(`0x${digits}`);
}

function decimal(digits: string): bigint {
  if (!/^[0-9]{1,20}$/.test(digits)) throw new RangeError(`${JSON.stringify(digits)} is no number`);
  return BigInt.asUintN(64, BigInt(digits));
}
