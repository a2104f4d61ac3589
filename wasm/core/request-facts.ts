// What a pick knows of its request. Set before `pick`; nothing here is changed by it but the random numbers, which
// begin anew with each pick, so that the same facts give the same choice.
import { MAX_HEADERS } from "../shared/program-layout";

/** Estimated length of the prompt. */
export let promptTokens: f64 = 0;
/** Hash by which near-equal pods are ordered. */
export let spread: u64 = 0;
/** Requests per second and pod. */
export let perPodRate: f64 = 0;
export let nowNs: u64 = 0;
/** Hash of the session id, 0 for none. */
export let session: u64 = 0;
/** Root of the chains of the model and adapter asked for, 0 when unknown. */
export let adapter: u64 = 0;

/** Where all chance of a pick comes from. */
export let seed: u64 = 0;
let state: u64 = 0;
const headerHashes: usize = heap.alloc(MAX_HEADERS << 3);
memory.fill(headerHashes, 0, MAX_HEADERS << 3);

/**
 * Who asks: the session's hash, the root of the model's (and adapter's) chains, and 64 random bits from which all
 * chance in the pick comes. Headers are forgotten.
 */
export function factsSet(sessionHash: u64, adapterRoot: u64, random: u64): void {
  session = sessionHash;
  adapter = adapterRoot;
  seed = random;
  memory.fill(headerHashes, 0, MAX_HEADERS << 3);
}

/** Hash (fnv64) of the value of the program's header `i`. */
export function factsHeader(i: u32, hash: u64): void {
  if (i < MAX_HEADERS) store<u64>(headerHashes + (<usize>i << 3), hash);
}

/** 0 when the request does not have the header. */
export function headerHash(i: u32): u64 {
  return load<u64>(headerHashes + (<usize>i << 3));
}

/** The facts that `pick` is called with. */
export function factsBegin(tokens: f64, spreadHash: u64, rate: f64, now: u64): void {
  promptTokens = tokens;
  spread = spreadHash;
  perPodRate = rate;
  nowNs = now;
  state = seed;
}

/** The next 64 random bits (splitmix64: Steele, Lea, Flood, OOPSLA 2014). */
export function chance(): u64 {
  state += 0x9e3779b97f4a7c15;
  let z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/** A random number above 0 and below 1. */
export function chanceUnit(): f64 {
  return (<f64>(chance() >> 12) + 0.5) / 4503599627370496;
}
