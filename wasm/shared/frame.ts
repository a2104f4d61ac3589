// Frames: a head that says what follows and whether it arrived whole, then the payload.
import {
  FORMAT,
  HEAD_BYTES,
  HEAD_CHECKSUM,
  HEAD_KIND,
  HEAD_LEADER,
  HEAD_LENGTH,
  HEAD_POLICY,
  HEAD_SEQUENCE,
  HEAD_START,
  MAGIC,
} from "./frame-layout";
import { ACC1, chain, checksum } from "./hash";

/** Checksum of a frame with `payload` bytes: of the payload, then of the five words of the head before it. */
export function frameChecksum(p: usize, payload: u32): u64 {
  let h = checksum(p + HEAD_BYTES, payload);
  h = chain(h, load<u64>(p), load<u64>(p, 8));
  h = chain(h, load<u64>(p, 16), load<u64>(p, 24));
  return chain(h, load<u64>(p, 32), ACC1);
}

/** Digest of a row of frames, from that of those before and the sealed frame at `p`. */
export function frameDigest(before: u64, p: usize): u64 {
  return chain(before, load<u64>(p, HEAD_CHECKSUM), ACC1);
}

/** Fills the head of a frame whose payload of `payload` bytes stands at `p` + HEAD_BYTES. Returns the frame's length. */
export function frameSeal(
  p: usize,
  kind: u16,
  leader: u64,
  startMs: u64,
  sequence: u64,
  policy: u32,
  payload: u32,
): u32 {
  store<u32>(p, MAGIC);
  store<u16>(p, FORMAT, 4);
  store<u16>(p, kind, HEAD_KIND);
  store<u64>(p, leader, HEAD_LEADER);
  store<u64>(p, startMs, HEAD_START);
  store<u64>(p, sequence, HEAD_SEQUENCE);
  store<u32>(p, policy, HEAD_POLICY);
  store<u32>(p, payload, HEAD_LENGTH);
  store<u64>(p, frameChecksum(p, payload), HEAD_CHECKSUM);
  return HEAD_BYTES + payload;
}

/** Whether `n` bytes at `p` are one whole frame of this format. */
export function frameValid(p: usize, n: u32): bool {
  return (
    n >= HEAD_BYTES &&
    load<u32>(p) == MAGIC &&
    load<u16>(p, 4) == FORMAT &&
    load<u32>(p, HEAD_LENGTH) == n - HEAD_BYTES &&
    load<u64>(p, HEAD_CHECKSUM) == frameChecksum(p, n - HEAD_BYTES)
  );
}
