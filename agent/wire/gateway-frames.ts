// What gateway workers tell the agent: the frames of wasm/shared/frame-layout.ts, read with bounds checked.
import type { Decision } from "../decisions/record.js";
import { decodeDecision } from "../decisions/record-bytes.js";
import { TIMED_OPS, type TimedOp } from "../policy/operation-plugins.js";

export interface Hello {
  kind: "hello";
  formats: [number, number];
  mainThread: boolean;
  processId: bigint;
  vmId: bigint;
  build: bigint;
}

/** What a gateway worker promised decode pods, since its start. */
export interface Transfers {
  kind: "transfers";
  processId: bigint;
  vmId: bigint;
  /** wasm/filter/prefill-metrics.ts has their order. */
  counters: number[];
  pods: { address: string; transfers: number; tokens: number }[];
}

export interface ReportRow {
  address: string;
  inflightRequests: number;
  inflightTokens: number;
  requests: number;
  promptTokens: number;
  predictedTokens: number;
  firstTokens: number;
  firstTokenMicros: number;
  firstTokenUncached: number;
}

export interface Report {
  kind: "report";
  processId: bigint;
  vmId: bigint;
  lease: boolean;
  counters: number[];
  /** What filters and scorers took, of the decisions that were timed; one without a name is of a later gateway. */
  ops: { op: TimedOp | null; runs: number; ns: number }[];
  pods: ReportRow[];
}

/** What one gateway worker counted of a pod since its last message of this kind. */
export interface PredictionRow {
  address: string;
  /** Requests of which the prompt was looked up, and the tokens of them that the pod's announced blocks promised. */
  requests: number;
  promised: number;
  /** Answers that said how many tokens were cached; what was promised of these, and what they said. */
  answers: number;
  answersPromised: number;
  cached: number;
  /** Answers by which more than a block too much, or more than a text block too little, was promised. */
  over: number;
  under: number;
  tenants: { tag: number; requests: number; promised: number; answers: number; right: number }[];
}

export interface Predictions {
  kind: "predictions";
  rows: PredictionRow[];
}

/** Prompts that went to pods and are matched approximately, in the order they went. */
export interface Routed {
  kind: "routed";
  rows: { address: string; hashes: BigUint64Array; tokensPerBlock: number }[];
}

/** What one gateway worker has under way. */
export interface Share {
  kind: "share";
  processId: bigint;
  vmId: bigint;
  /** The sender's monotonic clock, ns. */
  stamp: bigint;
  /** Whether pods that are left out have nothing under way. */
  whole: boolean;
  /** Whether counts of other gateways come too late to it, so that token-aware stands in for warm-until-busy there. */
  slow: boolean;
  rows: ({ address: string } & UnderWay)[];
}

/** Counts of one pod; work and tokens are those of prefills. */
export interface UnderWay {
  requests: number;
  prefills: number;
  work: number;
  tokens: number;
}

/** The reader lost its place and wants a snapshot. */
export interface Resync {
  kind: "resync";
}

export type GatewayFrame = Hello | Report | Resync | Decision | Share | Transfers | Predictions | Routed;

/** A number of the layout by the name under which the module exports it. */
export type LayoutNumber = (name: string) => number;

const utf8 = new TextDecoder();

/**
 * Reads a frame from a filter whose head was checked, `kind` being what it says (0: it is none); null when it is damaged
 * or of another format.
 */
export function readGatewayFrame(kind: number, data: Uint8Array, number: LayoutNumber): GatewayFrame | null {
  const head = number("headBytes");
  if (kind === 0 || data.length < head) return null;
  const view = new DataView(data.buffer, data.byteOffset + head, data.length - head);
  if (kind === number("kindResync")) return { kind: "resync" };
  if (kind === number("kindHello") && view.byteLength >= number("helloBytes"))
    return {
      kind: "hello",
      formats: [view.getUint16(0, true), view.getUint16(2, true)],
      mainThread: (view.getUint32(4, true) & 1) === 1,
      processId: view.getBigUint64(8, true),
      vmId: view.getBigUint64(16, true),
      build: view.getBigUint64(24, true),
    };
  if (kind === number("kindShare")) return readShare(view, data, number);
  if (kind === number("kindDecision")) return readDecision(view, data, number);
  if (kind === number("kindTransfers")) return readTransfers(view, number);
  if (kind === number("kindPredictions")) return readPredictions(view, number);
  if (kind === number("kindRouted")) return readRouted(view, number);
  return kind === number("kindReport") ? readReport(view, number) : null;
}

function readShare(view: DataView, frame: Uint8Array, number: LayoutNumber): Share | null {
  const width = number("shareRowBytes");
  let p = number("shareHeadBytes");
  if (view.byteLength < p) return null;
  const rows: Share["rows"] = [];
  for (let left = view.getUint32(12, true); left > 0; left--) {
    if (p + width > view.byteLength) return null;
    const size = view.getUint32(p, true);
    if (p + width + size > view.byteLength) return null;
    rows.push({
      address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, size)),
      requests: view.getUint32(p + 4, true),
      prefills: view.getUint32(p + 8, true),
      work: Number(view.getBigUint64(p + 16, true)),
      tokens: Number(view.getBigUint64(p + 24, true)),
    });
    p += width + ((size + 7) & ~7);
  }
  const sender = new DataView(frame.buffer, frame.byteOffset);
  return {
    kind: "share",
    processId: sender.getBigUint64(8, true),
    vmId: sender.getBigUint64(16, true),
    stamp: view.getBigUint64(0, true),
    whole: (view.getUint32(8, true) & 1) !== 0,
    slow: (view.getUint32(8, true) & 2) !== 0,
    rows,
  };
}

function readDecision(view: DataView, frame: Uint8Array, number: LayoutNumber): Decision | null {
  const sender = new DataView(frame.buffer, frame.byteOffset);
  return decodeDecision(
    view,
    {
      head: number("decisionHeadBytes"),
      row: number("decisionRowBytes"),
      pair: number("decisionPairBytes"),
    },
    { processId: sender.getBigUint64(8, true), vmId: sender.getBigUint64(16, true) },
  );
}

function readTransfers(view: DataView, number: LayoutNumber): Transfers | null {
  const width = number("transfersRowBytes");
  let p = number("transfersHeadBytes");
  if (view.byteLength < p) return null;
  const at = number("transfersCounters");
  const u64 = (offset: number) => Number(view.getBigUint64(offset, true));
  const pods: Transfers["pods"] = [];
  for (let left = view.getUint32(number("transfersRows"), true); left > 0; left--) {
    if (p + width > view.byteLength) return null;
    const length = view.getUint32(p, true);
    if (p + width + length > view.byteLength) return null;
    const address = utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length));
    pods.push({ address, transfers: u64(p + 8), tokens: u64(p + 16) });
    p += width + ((length + 7) & ~7);
  }
  return {
    kind: "transfers",
    processId: view.getBigUint64(0, true),
    vmId: view.getBigUint64(8, true),
    counters: Array.from({ length: number("transferCounterCount") }, (_, i) => u64(at + i * 8)),
    pods,
  };
}

function readPredictions(view: DataView, number: LayoutNumber): Predictions | null {
  const width = number("predictionsRowBytes");
  const tenantBytes = number("predictionsTenantBytes");
  let p = number("predictionsHeadBytes");
  if (view.byteLength < p) return null;
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  const rows: PredictionRow[] = [];
  for (let left = view.getUint32(0, true); left > 0; left--) {
    if (p + width > view.byteLength) return null;
    const length = view.getUint32(p, true);
    if (p + width + length > view.byteLength) return null;
    const tenants: PredictionRow["tenants"] = [];
    for (let i = 0, t = p + 64; i < number("predictionsTenants"); i++, t += tenantBytes) {
      const tag = view.getUint32(t, true);
      if (tag === 0) continue;
      tenants.push({
        tag,
        requests: view.getUint32(t + 4, true),
        answers: view.getUint32(t + 8, true),
        right: view.getUint32(t + 12, true),
        promised: u64(t + 16),
      });
    }
    rows.push({
      address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length)),
      requests: u64(p + 8),
      promised: u64(p + 16),
      answers: u64(p + 24),
      answersPromised: u64(p + 32),
      cached: u64(p + 40),
      over: u64(p + 48),
      under: u64(p + 56),
      tenants,
    });
    p += width + ((length + 7) & ~7);
  }
  return { kind: "predictions", rows };
}

function readRouted(view: DataView, number: LayoutNumber): Routed | null {
  const width = number("routedRowBytes");
  let p = number("routedHeadBytes");
  if (view.byteLength < p) return null;
  const rows: Routed["rows"] = [];
  for (let left = view.getUint32(0, true); left > 0; left--) {
    if (p + width > view.byteLength) return null;
    const length = view.getUint32(p, true);
    const count = view.getUint32(p + 4, true);
    const hashesAt = p + width + ((length + 7) & ~7);
    if (hashesAt + count * 8 > view.byteLength) return null;
    const hashes = new BigUint64Array(count);
    for (let i = 0; i < count; i++) hashes[i] = view.getBigUint64(hashesAt + i * 8, true);
    rows.push({
      address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length)),
      hashes,
      tokensPerBlock: view.getFloat64(p + 8, true),
    });
    p = hashesAt + count * 8;
  }
  return { kind: "routed", rows };
}

function readReport(view: DataView, number: LayoutNumber): Report | null {
  const head = number("reportHeadBytes");
  const width = number("reportRowBytes");
  if (view.byteLength < head) return null;
  const at = number("reportCounters");
  const counters = Array.from({ length: number("reportCounterCount") }, (_, i) =>
    Number(view.getBigUint64(at + i * 8, true)),
  );
  let p = head;
  const named = new Map(TIMED_OPS.map((op) => [number(`Op.${op}`), op]));
  const ops: Report["ops"] = [];
  for (let left = view.getUint32(number("reportOps"), true); left > 0; left--) {
    if (p + number("reportOpBytes") > view.byteLength) return null;
    ops.push({
      op: named.get(view.getUint32(p, true)) ?? null,
      runs: Number(view.getBigUint64(p + 8, true)),
      ns: Number(view.getBigUint64(p + 16, true)),
    });
    p += number("reportOpBytes");
  }
  const pods: ReportRow[] = [];
  for (let left = view.getUint32(20, true); left > 0; left--) {
    if (p + width > view.byteLength) return null;
    const length = view.getUint32(p, true);
    if (p + width + length > view.byteLength) return null;
    const row = p + 8;
    const u64 = (i: number) => Number(view.getBigUint64(row + i * 8, true));
    pods.push({
      address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length)),
      inflightRequests: view.getUint32(p + 4, true),
      inflightTokens: u64(0),
      requests: u64(1),
      promptTokens: u64(2),
      predictedTokens: u64(3),
      firstTokens: u64(4),
      firstTokenMicros: u64(5),
      firstTokenUncached: u64(6),
    });
    p += width + ((length + 7) & ~7);
  }
  return {
    kind: "report",
    processId: view.getBigUint64(0, true),
    vmId: view.getBigUint64(8, true),
    lease: (view.getUint32(16, true) & 1) === 1,
    counters,
    ops,
    pods,
  };
}
