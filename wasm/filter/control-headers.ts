// Headers by which a client asks for something: found in the one pass over a request's headers.
import { Text, text } from "./abi/memory";

/** Where a value stands and how long it is; valid until the header callback ends. */
@unmanaged
export class Span {
  at: usize;
  size: u32;
}

function span(): Span {
  const s = changetype<Span>(heap.alloc(offsetof<Span>()));
  s.at = 0;
  s.size = 0;
  return s;
}

export const priority: Span = span();
export const objective: Span = span();
export const fairnessId: Span = span();
export const cachePolicy: Span = span();
export const modelOverride: Span = span();
export const requestTimeout: Span = span();
export const maxRetriesAsked: Span = span();
export const prefer: Span = span();
export const claim: Span = span();
/** Pods that the request may go to. */
export const subset: Span = span();
/** Whether any of them was there. */
export let controlsSeen: bool = false;

/** The header that carries a model override, for a second look at the body. */
export const MODEL_OVERRIDE: Text = text("x-model-override");
export const MODEL_REWRITE: Text = text("x-llm-d-model-name-rewrite");
export const MODEL_REWRITE_OLD: Text = text("x-gateway-model-name-rewrite");

/** The header that carries them; it goes no further than the filter. */
export const SUBSET: Text = text("x-gateway-destination-endpoint-subset");

const NAMES: StaticArray<Text> = [
  text("x-priority"),
  text("x-llm-d-inference-objective"),
  text("x-gateway-inference-objective"),
  text("x-llm-d-inference-fairness-id"),
  text("x-gateway-inference-fairness-id"),
  text("x-cache-policy"),
  MODEL_OVERRIDE,
  MODEL_REWRITE,
  MODEL_REWRITE_OLD,
  text("x-request-timeout"),
  text("x-max-retries"),
  text("prefer"),
];
const SPANS: StaticArray<Span> = [
  priority,
  objective,
  objective,
  fairnessId,
  fairnessId,
  cachePolicy,
  modelOverride,
  modelOverride,
  modelOverride,
  requestTimeout,
  maxRetriesAsked,
  prefer,
];
/** Bit n: some name has n bytes. */
const LENGTHS: u32 = lengths();

function lengths(): u32 {
  let bits: u32 = 0;
  for (let i = 0; i < NAMES.length; i++) bits |= 1 << <u32>unchecked(NAMES[i]).size;
  return bits;
}

/** Forgets the request before. */
export function controlsClear(): void {
  if (!controlsSeen) return;
  controlsSeen = false;
  for (let i = 0; i < SPANS.length; i++) unchecked(SPANS[i]).size = 0;
  claim.size = 0;
  subset.size = 0;
}

/** Whether a name of `n` bytes may be one of ours. */
// @ts-ignore: decorator
@inline
export function controlLength(n: u32): bool {
  return n < 32 && ((LENGTHS >> n) & 1) != 0;
}

/** Takes a header if it is one of ours. Of a repeated one the newer name and the first value count. */
export function controlTake(p: usize, n: u32, v: usize, vn: u32): void {
  const first = load<u8>(p);
  if (first != 0x78 && first != 0x70) return; // x, p
  for (let i = 0; i < NAMES.length; i++) {
    const t = unchecked(NAMES[i]);
    if (t.size != <usize>n || memory.compare(p, t.at, n) != 0) continue;
    const s = unchecked(SPANS[i]);
    controlsSeen = true;
    if (s.size) return;
    s.at = v;
    s.size = vn;
    return;
  }
}

/** Takes the header with a verified claim. A repeated one is no claim: one of them may be the client's own. */
export function claimTake(v: usize, vn: u32): void {
  controlsSeen = true;
  if (claim.size) {
    claim.size = 0xffffffff;
    return;
  }
  claim.at = v;
  claim.size = vn;
}

/** Takes the header with the pods that the request may go to; the first of several counts. */
export function subsetTake(v: usize, vn: u32): void {
  controlsSeen = true;
  if (subset.size) return;
  subset.at = v;
  subset.size = vn;
}
