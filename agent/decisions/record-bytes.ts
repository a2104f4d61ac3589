// Decision records as bytes; wasm/shared/decision-layout.ts has the offsets.
import type { Role } from "../wire/rows.js";
import {
  DECISION_REASONS,
  type Decision,
  type DecisionCandidate,
  type PairDecision,
  type PickFacts,
} from "./record.js";

/** Sizes that a wasm module exports. */
export interface DecisionSizes {
  head: number;
  row: number;
  pair: number;
}

const FLAGS = { sharingSlow: 1, stoodIn: 2, cut: 4, columnsFresh: 8, paired: 16 } as const;
const ROW = {
  fresh: 1,
  out: 2,
  session: 4,
  active: 8,
  waiting: 16,
  room: 32,
  decodes: 64,
  prefills: 128,
} as const;
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
  const idSize = view.getUint16(32, true);
  const requestId = textAt(view, sizes.head, idSize);
  if (requestId === null) return null;
  const columns = view.getUint8(122);
  const rows = readRows(view, sizes.head + padded(idSize), view.getUint16(34, true), columns, sizes);
  if (!rows) return null;
  const flags = view.getUint8(121);
  const pair = flags & FLAGS.paired ? readPair(view, rows.end, columns, sizes) : null;
  if (flags & FLAGS.paired && !pair) return null;
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
    candidates: rows.rows.map(({ candidate }) => candidate),
    pair,
  };
}

function textAt(view: DataView, at: number, length: number): string | null {
  return at + length <= view.byteLength
    ? utf8.decode(new Uint8Array(view.buffer, view.byteOffset + at, length))
    : null;
}

interface Row {
  candidate: DecisionCandidate;
  prefillRank: number;
}

/** Reads `count` rows from `at` on; null when they are not whole. */
function readRows(
  view: DataView,
  at: number,
  count: number,
  columns: number,
  sizes: DecisionSizes,
): { rows: Row[]; end: number } | null {
  const rows: Row[] = [];
  let p = at;
  for (let left = count; left > 0; left--) {
    const addressAt = p + sizes.row + columns * 4;
    if (addressAt > view.byteLength) return null;
    const size = view.getUint16(p, true);
    const address = textAt(view, addressAt, size);
    if (address === null) return null;
    const flags = view.getUint8(p + 3);
    const role: Role = flags & ROW.decodes ? "decode" : flags & ROW.prefills ? "prefill" : "both";
    const candidate = {
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
      role,
      adapter: {
        active: (flags & ROW.active) !== 0,
        waiting: (flags & ROW.waiting) !== 0,
        room: (flags & ROW.room) !== 0,
      },
      labels: hex(view.getBigUint64(p + 80, true)),
      columns: Array.from({ length: columns }, (_, i) => view.getUint32(p + sizes.row + i * 4, true)),
    };
    rows.push({ candidate, prefillRank: view.getUint8(p + 30) });
    p = addressAt + padded(size);
  }
  return { rows, end: p };
}

function readPair(view: DataView, at: number, columns: number, sizes: DecisionSizes): PairDecision | null {
  if (at + sizes.pair > view.byteLength) return null;
  const read = readRows(view, at + sizes.pair, view.getUint16(at + 60, true), columns, sizes);
  if (!read) return null;
  const flags = view.getUint8(at + 59);
  return {
    splits: view.getUint8(at + 57) !== 0,
    decode: view.getUint8(at + 58),
    seconds: view.getFloat64(at + 40, true),
    aloneSeconds: view.getFloat64(at + 48, true),
    mode: view.getUint8(at + 56),
    transferTokensPerSecond: view.getFloat64(at + 24, true),
    stallWeight: view.getFloat64(at + 32, true),
    promptTokens: view.getFloat64(at + 8, true),
    work: view.getFloat64(at + 16, true),
    timeNs: view.getBigUint64(at, true).toString(),
    complete: (flags & FLAGS.cut) === 0,
    columnsFresh: (flags & FLAGS.columnsFresh) !== 0,
    candidates: read.rows.map(({ candidate, prefillRank }) => ({ ...candidate, prefillRank })),
  };
}

/** What a replay reads of a decision. */
export interface Replayable {
  pick: PickFacts;
  candidates: readonly DecisionCandidate[];
  pair?: PairDecision | null;
}

/**
 * Writes what a replay reads of a decision.
 * @throws RangeError when a value cannot be what a gateway recorded.
 */
export function encodePick({ pick, candidates, pair }: Replayable, sizes: DecisionSizes): Uint8Array {
  const columns = (candidates[0] ?? pair?.candidates[0])?.columns.length ?? 0;
  const rows = rowsBytes(candidates, columns, sizes);
  const pairRows = pair ? rowsBytes(pair.candidates, columns, sizes) : new Uint8Array();
  const pairAt = sizes.head + rows.length;
  const bytes = new Uint8Array(pairAt + (pair ? sizes.pair + pairRows.length : 0));
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
      [Boolean(pair), FLAGS.paired],
    ]),
  );
  view.setUint8(122, columns);
  bytes.set(rows, sizes.head);
  if (!pair) return bytes;
  view.setBigUint64(pairAt, decimal(pair.timeNs), true);
  view.setFloat64(pairAt + 8, pair.promptTokens, true);
  view.setFloat64(pairAt + 16, pair.work, true);
  view.setFloat64(pairAt + 24, pair.transferTokensPerSecond, true);
  view.setFloat64(pairAt + 32, pair.stallWeight, true);
  view.setUint8(pairAt + 56, pair.mode);
  view.setUint8(
    pairAt + 59,
    bits([
      [!pair.complete, FLAGS.cut],
      [pair.columnsFresh, FLAGS.columnsFresh],
    ]),
  );
  view.setUint16(pairAt + 60, pair.candidates.length, true);
  bytes.set(pairRows, pairAt + sizes.pair);
  return bytes;
}

function rowsBytes(
  candidates: readonly DecisionCandidate[],
  columns: number,
  sizes: DecisionSizes,
): Uint8Array {
  const addresses = candidates.map(({ address }) => text.encode(address));
  if (addresses.some((a) => a.length > MAX_ADDRESS)) throw new RangeError("an address is too long");
  if (candidates.some((c) => c.columns.length !== columns))
    throw new RangeError("candidates have different numbers of columns");
  const width = sizes.row + columns * 4;
  const bytes = new Uint8Array(addresses.reduce((n, a) => n + width + padded(a.length), 0));
  const view = new DataView(bytes.buffer);
  let p = 0;
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
        [c.role === "decode", ROW.decodes],
        [c.role === "prefill", ROW.prefills],
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
    view.setBigUint64(p + 80, hexNumber(c.labels), true);
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
