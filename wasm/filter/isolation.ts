// `trust.isolation: salt`: every tenant's prompts are cached under a salt of its own, which is put into the body, so that
// engines never serve one tenant from another's cache, and nobody can tell from a fast answer what others have sent.
// The salt is a keyed hash of the tenant and of the client's own salt under the key of the policy, which all gateways
// have and no client: nobody can name another tenant's.
import { saltKey0, saltKey1 } from "../core/policy";
import { saltCount, saltFrom, saltReplace, saltTo } from "../core/scan";
import { sipHi, sipLo, siphash128 } from "../shared/siphash";
import { text } from "./abi/memory";
import { edit } from "./body-edits";
import { Stream } from "./streams";

/** A member to put behind a body's brace, and the value alone in its quotes. */
const MEMBER = text('"cache_salt":"00000000000000000000000000000000",');
const VALUE = MEMBER.at + 13;
const DIGITS = VALUE + 1;
// @ts-ignore: decorator
@inline
const DIGIT_COUNT: u32 = 32;

/** Names the tenant of a request: `n` bytes at `p` of a kind. All callers that say nothing of themselves are one. */
export function isolate(s: Stream, kind: u64, p: usize, n: u32): void {
  s.isolationLo = 0;
  s.isolationHi = 0;
  if (n == 0) return;
  siphash128(saltKey0 ^ 0x69736f6c61746531 ^ (kind << 56), saltKey1, p, n);
  s.isolationLo = sipLo;
  s.isolationHi = sipHi;
}

/** Puts the tenant's salt into the scanned body at `body`, as one of its edits, and makes it the prompt's. */
export function editSalt(s: Stream, body: usize): void {
  const own = saltCount ? <u32>(saltTo - saltFrom) : 0;
  siphash128(saltKey0 ^ s.isolationLo, saltKey1 ^ s.isolationHi, saltFrom, own);
  hex(DIGITS, sipLo);
  hex(DIGITS + 16, sipHi);
  saltReplace(DIGITS, DIGIT_COUNT);
  if (saltCount) {
    edit(saltFrom, saltTo, VALUE, DIGIT_COUNT + 2);
    return;
  }
  // Only white space and a byte order mark can stand before the brace; the object has a model, so a comma is right.
  while (load<u8>(body) != 0x7b) body++;
  edit(body + 1, body + 1, MEMBER.at, MEMBER.size);
}

function hex(p: usize, word: u64): void {
  for (let i: u32 = 0; i < 16; i++) {
    const digit = <u8>(word >> (60 - (i << 2))) & 15;
    store<u8>(p + i, digit + (digit < 10 ? 48 : 87));
  }
}
