// Writer of the policy section, with the program that was written last behind it; policy-layout.ts has the offsets.
import { KEY_WORDS } from "./hash";
import { blockBytes, blockKey, saltKey0, saltKey1 } from "./keys";
import {
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
} from "./policy-layout";
import { programSize, programWrite } from "./program-writer";
import { sectionRaw } from "./sections";
import { framesPolicy } from "./wire-frames";

/** Writes the section, whose version frames carry from now on; returns the payload's length. */
export function policySection(
  version: u32,
  bodyRead: u32,
  debugHeaders: u32,
  staleMs: u32,
  loadTtlMs: u32,
  reserved: u32,
  isolation: u32,
): u32 {
  framesPolicy(version);
  const p = sectionRaw(POLICY_BYTES + programSize());
  store<u32>(p, version, POLICY_VERSION);
  store<u32>(p, isolation, POLICY_ISOLATION);
  store<u32>(p, bodyRead, POLICY_BODY_READ);
  store<u32>(p, blockBytes, POLICY_BLOCK_BYTES);
  store<u32>(p, debugHeaders, POLICY_DEBUG_HEADERS);
  store<u32>(p, staleMs, POLICY_STALE_MS);
  store<u32>(p, loadTtlMs, POLICY_LOAD_TTL_MS);
  store<u32>(p, reserved, POLICY_RESERVED);
  store<u64>(p, saltKey0, POLICY_SALT_KEY);
  store<u64>(p, saltKey1, POLICY_SALT_KEY + 8);
  memory.copy(p + POLICY_BLOCK_KEY, blockKey, KEY_WORDS << 3);
  programWrite(p + POLICY_BYTES);
  return POLICY_BYTES + programSize();
}
