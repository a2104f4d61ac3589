// The policy section, with the defaults that hold before one arrives.
import { KEY_WORDS } from "../shared/hash";
import {
  DEBUG_NONE,
  POLICY_BLOCK_BYTES,
  POLICY_BLOCK_KEY,
  POLICY_BODY_READ,
  POLICY_BYTES,
  POLICY_DEBUG_HEADERS,
  POLICY_ISOLATION,
  POLICY_LOAD_TTL_MS,
  POLICY_RESERVED,
  POLICY_SALT_KEY,
  POLICY_STALE_MS,
  POLICY_VERSION,
  RESERVED_REJECT,
} from "../shared/policy-layout";
import { programTake, programValid } from "./program";

export let policyVersion: u32 = 0;
/** Bytes of a body that are read and hashed. */
export let bodyRead: u32 = 524288;
export let blockBytes: u32 = 128;
export let debugHeaders: u32 = DEBUG_NONE;
export let staleMs: u32 = 600000;
export let loadTtlMs: u32 = 30000;
export let reservedAction: u32 = RESERVED_REJECT;
/** Whether every tenant's prompts are cached under a salt of its own. */
export let isolated: bool = false;
export let saltKey0: u64 = 0;
export let saltKey1: u64 = 0;
/** Whether a policy has arrived; without its key nothing can be hashed. */
export let policyKnown: bool = false;
export const blockKey: usize = heap.alloc(KEY_WORDS << 3);

/** What the plugin's configuration says until a policy arrives. */
export function policyDefaults(read: u32, debug: u32): void {
  if (policyKnown) return;
  bodyRead = read;
  debugHeaders = debug;
}

/** Takes a policy section; false, with nothing changed, when it is not whole or out of range. */
export function policyRead(p: usize, n: u32): bool {
  if (n < POLICY_BYTES) return false;
  const block = load<u32>(p, POLICY_BLOCK_BYTES);
  const read = load<u32>(p, POLICY_BODY_READ);
  if (block != 64 && block != 128 && block != 256) return false;
  if (read < 4096 || read > 16777216) return false;
  if (!programValid(p + POLICY_BYTES, n - POLICY_BYTES)) return false;
  programTake(p + POLICY_BYTES);
  policyVersion = load<u32>(p, POLICY_VERSION);
  bodyRead = read;
  blockBytes = block;
  debugHeaders = load<u32>(p, POLICY_DEBUG_HEADERS);
  staleMs = load<u32>(p, POLICY_STALE_MS);
  loadTtlMs = load<u32>(p, POLICY_LOAD_TTL_MS);
  reservedAction = load<u32>(p, POLICY_RESERVED);
  isolated = load<u32>(p, POLICY_ISOLATION) == 1;
  saltKey0 = load<u64>(p, POLICY_SALT_KEY);
  saltKey1 = load<u64>(p, POLICY_SALT_KEY + 8);
  memory.copy(blockKey, p + POLICY_BLOCK_KEY, KEY_WORDS << 3);
  policyKnown = true;
  return true;
}
