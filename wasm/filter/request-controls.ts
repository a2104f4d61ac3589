// What a client asks for in headers, as far as the policy lets it: who is trusted, priority, tenant, timeouts, retries.
import { debugHeaders, isolated } from "../core/policy";
import {
  maxRetries,
  maxTimeoutMs,
  objectiveFind,
  principalTrusted,
  ruleAny,
  ruleFind,
  ruleNumber,
  rulesKnown,
  trustConfigured,
} from "../core/request-rules";
import { DEBUG_ALL, DEBUG_TRUSTED } from "../shared/policy-layout";
import { RULE_CLAIM_VALUE, RULE_OVERRIDE, RULE_PRINCIPAL, RULE_TOKEN } from "../shared/rules-layout";
import { sha256 } from "../shared/sha256";
import { sipLo, siphash128 } from "../shared/siphash";
import { Text, text } from "./abi/memory";
import { MAP_REQUEST, OK } from "./abi/types";
import { sessionKey0, sessionKey1 } from "./configuration";
import * as asked from "./control-headers";
import { setNumber } from "./decimal";
import { isolate } from "./isolation";
import { property, resultAt, resultSize, setHeader } from "./host";
import { credentialAt, credentialSize } from "./request-headers";
import { Stream } from "./streams";

// Bits of Stream.controls.
/** The policy trusts the caller. */
// @ts-ignore: decorator
@inline
export const CONTROL_TRUSTED: u8 = 1;
/** Another model is asked for, and may be. */
// @ts-ignore: decorator
@inline
export const CONTROL_OVERRIDE: u8 = 2;
/** Only a pod that has some of the prompt cached will do. */
// @ts-ignore: decorator
@inline
export const CONTROL_IF_CACHED: u8 = 4;
/** Cached prefixes count half. */
// @ts-ignore: decorator
@inline
export const CONTROL_BALANCED: u8 = 8;
/** Cached prefixes do not count. */
// @ts-ignore: decorator
@inline
export const CONTROL_IGNORE_CACHE: u8 = 16;
/** It has waited; it is not made to wait again. */
// @ts-ignore: decorator
@inline
export const CONTROL_ADMITTED: u8 = 32;

/** Only pods that a header lists will do. */
// @ts-ignore: decorator
@inline
export const CONTROL_SUBSET: u8 = 64;

/** Priorities that have names. Below zero is sheddable. */
const CRITICAL: i32 = 100;
const HIGH: i32 = 10;
const LOW: i32 = -10;
/** Integers beyond are cut. */
const PRIORITY_MAX: i32 = 1000;

const TIMEOUT = text("x-envoy-upstream-rq-timeout-ms");
const RETRIES = text("x-envoy-max-retries");
const URI_SAN = text("connection\0uri_san_peer_certificate");
const SUBJECT = text("connection\0subject_peer_certificate");
const BEARER = text("Bearer ");
const NAMED_CRITICAL = text("critical");
const NAMED_HIGH = text("high");
const NAMED_NORMAL = text("normal");
const NAMED_LOW = text("low");
const BALANCED = text("balanced");
const IGNORE = text("ignore");
const IF_AVAILABLE = text("if-available");

// @ts-ignore: decorator
@inline
function is(s: asked.Span, t: Text): bool {
  return <usize>s.size == t.size && memory.compare(s.at, t.at, t.size) == 0;
}

/** Reads what the request asks for into its record; in its header callback. */
export function controlsRead(s: Stream): void {
  if (isolated) isolate(s, 1, credentialAt, credentialSize);
  if (!rulesKnown) return;
  s.tenant = credentialTenant();
  const showsDebug = debugHeaders == DEBUG_TRUSTED && trustConfigured();
  if (!asked.controlsSeen && !showsDebug) return;
  // Who it is costs host calls or a digest: it is only asked when something hangs on it.
  const priority = askedPriority();
  const rises = priority > 0 || asked.fairnessId.size > 0 || (asked.modelOverride.size > 0 && ruleAny(RULE_OVERRIDE)) || asked.subset.size > 0;
  const trusted = (showsDebug || rises) && callerTrusted();
  s.priority = trusted ? priority : min(priority, 0);
  if (trusted) {
    s.controls |= CONTROL_TRUSTED;
    if (asked.fairnessId.size) {
      s.tenant = tenantOf(2, asked.fairnessId.at, asked.fairnessId.size);
      if (isolated) isolate(s, 2, asked.fairnessId.at, asked.fairnessId.size);
    }
    if (asked.modelOverride.size && ruleAny(RULE_OVERRIDE)) s.controls |= CONTROL_OVERRIDE;
    // It was removed with what clients have no business setting; it waits on the request for the pick.
    if (asked.subset.size && setHeader(MAP_REQUEST, asked.SUBSET, asked.subset.at, asked.subset.size) == OK) {
      s.controls |= CONTROL_SUBSET;
    }
  }
  if (!asked.controlsSeen) return;
  if (is(asked.cachePolicy, BALANCED)) s.controls |= CONTROL_BALANCED;
  else if (is(asked.cachePolicy, IGNORE)) s.controls |= CONTROL_IGNORE_CACHE;
  if (contains(asked.prefer, IF_AVAILABLE)) s.controls |= CONTROL_IF_CACHED;
  writeTimeout();
  writeRetries();
}

/** A tenant is a keyed hash, so that nobody can aim at another one's; all callers without a credential are one. */
function tenantOf(kind: u64, p: usize, n: u32): u64 {
  siphash128(sessionKey0 ^ 0x74656e616e743031 ^ kind, sessionKey1, p, n);
  return sipLo;
}

function credentialTenant(): u64 {
  return credentialSize ? tenantOf(1, credentialAt, credentialSize) : 0;
}

/** x-priority if it is understood, else the objective's, else normal. */
function askedPriority(): i32 {
  const p = asked.priority;
  if (p.size) {
    if (is(p, NAMED_CRITICAL)) return CRITICAL;
    if (is(p, NAMED_HIGH)) return HIGH;
    if (is(p, NAMED_NORMAL)) return 0;
    if (is(p, NAMED_LOW)) return LOW;
    const negative = load<u8>(p.at) == 0x2d;
    const v = number(p.at + (negative ? 1 : 0), p.size - (negative ? 1 : 0));
    if (v >= 0) {
      const cut = <i32>min<i64>(v, PRIORITY_MAX);
      return negative ? -cut : cut;
    }
  }
  if (asked.objective.size && objectiveFind(asked.objective.at, asked.objective.size)) return ruleNumber;
  return 0;
}

function callerTrusted(): bool {
  if (asked.claim.size && asked.claim.size <= 4096 && ruleFind(RULE_CLAIM_VALUE, asked.claim.at, asked.claim.size)) {
    return true;
  }
  if (ruleAny(RULE_TOKEN) && credentialSize) {
    let at = credentialAt;
    let size = credentialSize;
    if (<usize>size > BEARER.size && memory.compare(at, BEARER.at, BEARER.size) == 0) {
      at += BEARER.size;
      size -= <u32>BEARER.size;
    }
    if (size <= 4096 && ruleFind(RULE_TOKEN, sha256(at, size), 32)) return true;
  }
  if (!ruleAny(RULE_PRINCIPAL)) return false;
  // What the client's certificate says; that it was checked is the listener's business (docs/requests.md).
  if (property(URI_SAN) == OK && principalTrusted(resultAt, <u32>resultSize)) return true;
  return property(SUBJECT) == OK && principalTrusted(resultAt, <u32>resultSize);
}

/** Decimal digits as a number, -1 for anything else. */
function number(p: usize, n: u32): i64 {
  if (n == 0 || n > 9) return -1;
  let v: i64 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const digit = <u32>load<u8>(p + i) - 48;
    if (digit > 9) return -1;
    v = v * 10 + digit;
  }
  return v;
}

function contains(s: asked.Span, t: Text): bool {
  if (<usize>s.size < t.size || s.size > 1024) return false;
  for (let i: usize = 0; i <= <usize>s.size - t.size; i++) {
    if (memory.compare(s.at + i, t.at, t.size) == 0) return true;
  }
  return false;
}

/** Milliseconds of `30s`, `500ms`, `2m` or `1h`, -1 for anything else. */
function duration(p: usize, n: u32): i64 {
  let digits: u32 = 0;
  while (digits < n && <u32>load<u8>(p + digits) - 48 <= 9) digits++;
  const v = number(p, digits);
  const unit = n - digits;
  if (v < 0 || unit == 0 || unit > 2) return -1;
  const c = load<u8>(p + digits);
  if (unit == 2) return c == 0x6d && load<u8>(p + digits + 1) == 0x73 ? v : -1;
  return c == 0x73 ? v * 1000 : c == 0x6d ? v * 60000 : c == 0x68 ? v * 3600000 : -1;
}

/** Whether the caller sees debug headers in its answer. */
export function debugShown(s: Stream): bool {
  return debugHeaders == DEBUG_ALL || (debugHeaders == DEBUG_TRUSTED && (s.controls & CONTROL_TRUSTED) != 0);
}

function writeTimeout(): void {
  if (!asked.requestTimeout.size || maxTimeoutMs == 0) return;
  const ms = duration(asked.requestTimeout.at, asked.requestTimeout.size);
  // Zero would mean no timeout at all.
  if (ms > 0) setNumber(MAP_REQUEST, TIMEOUT, min<u64>(<u64>ms, maxTimeoutMs));
}

function writeRetries(): void {
  if (!asked.maxRetriesAsked.size) return;
  const n = number(asked.maxRetriesAsked.at, asked.maxRetriesAsked.size);
  if (n >= 0) setNumber(MAP_REQUEST, RETRIES, min<u64>(<u64>n, maxRetries));
}
