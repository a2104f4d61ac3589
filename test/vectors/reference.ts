// A slow, independent reference in BigInt for everything that must be bit-equal on both sides of the stream. It is
// written from wasm/shared/README.md, not from the code.

const M64 = (1n << 64n) - 1n;
const M32 = (1n << 32n) - 1n;
const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const A0 = 0x27d4eb2f165667c5n;
const A1 = 0x85ebca77c2b2ae63n;

const u64 = (x: bigint) => x & M64;
const rotl = (x: bigint, n: bigint) => u64((x << n) | (x >> (64n - n)));

function word(bytes: Uint8Array, at: number): bigint {
  let w = 0n;
  for (let i = 7; i >= 0; i--) w = (w << 8n) | BigInt(bytes[at + i] ?? 0);
  return w;
}

/** SipHash-2-4 with an output of 64 or 128 bits (two words). */
export function siphash(k0: bigint, k1: bigint, data: Uint8Array, wide: boolean): [bigint, bigint] {
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  if (wide) v1 ^= 0xeen;
  const round = () => {
    v0 = u64(v0 + v1);
    v1 = rotl(v1, 13n) ^ v0;
    v0 = rotl(v0, 32n);
    v2 = u64(v2 + v3);
    v3 = rotl(v3, 16n) ^ v2;
    v0 = u64(v0 + v3);
    v3 = rotl(v3, 21n) ^ v0;
    v2 = u64(v2 + v1);
    v1 = rotl(v1, 17n) ^ v2;
    v2 = rotl(v2, 32n);
  };
  const whole = data.length - (data.length % 8);
  const take = (m: bigint) => {
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  };
  for (let i = 0; i < whole; i += 8) take(word(data, i));
  let last = BigInt(data.length & 255) << 56n;
  for (let i = whole; i < data.length; i++) last |= BigInt(data[i]!) << BigInt(8 * (i - whole));
  take(last);
  v2 ^= wide ? 0xeen : 0xffn;
  for (let i = 0; i < 4; i++) round();
  const lo = v0 ^ v1 ^ v2 ^ v3;
  if (!wide) return [lo, 0n];
  v1 ^= 0xddn;
  for (let i = 0; i < 4; i++) round();
  return [lo, v0 ^ v1 ^ v2 ^ v3];
}

/** The 32 words of a block key. */
export function expandKey(k0: bigint, k1: bigint): bigint[] {
  const words: bigint[] = [];
  let x = k0;
  for (let i = 0n; i < 32n; i++) {
    x = u64(x + 0x9e3779b97f4a7c15n);
    let z = x ^ (i === 0n ? k1 : rotl(k1, i));
    z = u64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    words.push(z ^ (z >> 31n));
  }
  return words;
}

function chain(previous: bigint, a0: bigint, a1: bigint): bigint {
  let h = u64((previous ^ a0) * P1);
  h ^= h >> 32n;
  h = u64(u64(h + a1) * P2);
  h ^= h >> 29n;
  h = u64((h ^ rotl(previous, 23n)) * P3);
  return h ^ (h >> 32n);
}

/** Chained hashes of the whole blocks of `text`. */
export function hashBlocks(key: bigint[], root: bigint, text: Uint8Array, blockBytes: number): bigint[] {
  const out: bigint[] = [];
  let h = root;
  for (let b = 0; b + blockBytes <= text.length; b += blockBytes) {
    const lanes = [A0, A1];
    for (let w = 0; w < blockBytes / 8; w++) {
      const d = word(text, b + w * 8);
      const x = d ^ key[w]!;
      const own = w & 1;
      lanes[own] = u64(lanes[own]! + (x & M32) * (x >> 32n));
      lanes[1 - own] = u64(lanes[1 - own]! + d);
    }
    h = chain(h, lanes[0]!, lanes[1]!);
    out.push(h);
  }
  return out;
}

/** Keys of an installation from its 32 secret bytes. */
export function keysOf(secret: Uint8Array) {
  const derive = (label: number) =>
    siphash(
      word(secret, 0),
      word(secret, 8),
      Uint8Array.of(...secret.subarray(16, 32), label, 0, 0, 0, 0, 0, 0, 0),
      true,
    );
  return { block: expandKey(...derive(1)), salt: derive(2), root: derive(3) };
}

/** Root of a model's chains under an adapter and a salt ("" = none). */
export function rootOf(secret: Uint8Array, model: string, lora: string, salt: string): bigint {
  const keys = keysOf(secret);
  const [root] = siphash(...keys.root, new TextEncoder().encode(`${model}\0${lora}`), false);
  if (salt === "") return root;
  return siphash(keys.salt[0] ^ root, keys.salt[1], new TextEncoder().encode(salt), false)[0];
}

/** Checksum of a frame: of its payload, then of the head's words before the checksum. */
export function checksum(frame: Uint8Array): bigint {
  let h = bytesChecksum(frame.subarray(48));
  for (let i = 0; i < 40; i += 16) h = chain(h, word(frame, i), i === 32 ? A1 : word(frame, i + 8));
  return h;
}

function bytesChecksum(payload: Uint8Array): bigint {
  const n = BigInt(payload.length);
  let a = A0 ^ n;
  let b = A1;
  const whole = payload.length - (payload.length % 16);
  for (let i = 0; i < whole; i += 16) {
    a = u64(rotl(u64(a + u64(word(payload, i) * P2)), 31n) * P1);
    b = u64(rotl(u64(b + u64(word(payload, i + 8) * P1)), 29n) * P2);
  }
  for (let i = whole; i < payload.length; i++) a = u64(rotl(a ^ u64(BigInt(payload[i]!) * P3), 11n) * P1);
  return chain(a, b, n);
}

/** Digest of a snapshot's frames up to its end. */
export function digestOf(frames: Uint8Array[]): bigint {
  return frames.reduce((before, frame) => chain(before, word(frame, 40), A1), 0n);
}

interface TableImage {
  /** Hash → pods and tokens. */
  entries: Map<bigint, { pods: number[]; tokens: number }>;
  sections: { kind: number; payload: Uint8Array }[];
  /** What a later delta needs: set definitions and the words of a mask. */
  state: { sets: Map<number, number[]>; words: number };
}

/** Reads frames as a filter would, from the documented layout; throws on anything odd. */
export function readFrames(frames: Uint8Array[], from?: TableImage): TableImage {
  const state = from?.state ?? { sets: new Map<number, number[]>([[0, []]]), words: 1 };
  const sets = state.sets;
  let entries = from?.entries ?? new Map<bigint, { pods: number[]; tokens: number }>();
  const sections: TableImage["sections"] = [];
  let words = state.words;
  let buckets: Uint8Array | null = null;
  let digest = 0n;
  const put = (hash: bigint, set: number, units: number) =>
    entries.set(hash, { pods: sets.get(set)!, tokens: units * 16 });
  for (const frame of frames) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    if (view.getUint32(0, true) !== 0x31544757 || view.getUint16(4, true) !== 1) throw new Error("head");
    const payload = frame.subarray(48);
    if (view.getUint32(36, true) !== payload.length) throw new Error("length");
    if (view.getBigUint64(40, true) !== checksum(frame)) throw new Error("checksum");
    const body = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const inside = (view.getUint16(6, true) & 256) !== 0;
    if (inside !== (buckets !== null && view.getUint16(6, true) > 3))
      throw new Error("a snapshot's frame outside one, or the reverse");
    const kind = view.getUint16(6, true) & 255;
    const before = digest;
    digest = chain(kind === 1 ? 0n : digest, checksum(frame), A1);
    if (kind === 1) {
      buckets = new Uint8Array(body.getUint32(0, true) * 64);
      words = body.getUint32(4, true);
    } else if (kind === 2) buckets!.set(payload.subarray(8), Number(body.getBigUint64(0, true)));
    else if (kind === 3) {
      entries = new Map();
      const image = new DataView(buckets!.buffer);
      for (let b = 0; b < buckets!.length; b += 64)
        for (let i = 0; i < 5; i++) {
          const hash = image.getBigUint64(b + i * 8, true);
          if (hash) put(hash, image.getUint16(b + 40 + i * 4, true), image.getUint16(b + 42 + i * 4, true));
        }
      if (Number(body.getBigUint64(0, true)) !== entries.size) throw new Error("entries");
      if (body.getBigUint64(8, true) !== before) throw new Error("digest");
      buckets = null;
    } else if (kind === 4) {
      for (let at = 0; at < payload.length; ) {
        const run = body.getUint16(at, true);
        const count = body.getUint16(at + 2, true);
        at += 4;
        for (let i = 0; i < count; i++) {
          if (run === 1) {
            const pods: number[] = [];
            for (let w = 0; w < words; w++) {
              const mask = body.getBigUint64(at + 8 + w * 8, true);
              for (let bit = 0n; bit < 64n; bit++) if ((mask >> bit) & 1n) pods.push(w * 64 + Number(bit));
            }
            sets.set(body.getUint16(at, true), pods);
            at += 8 + words * 8;
          } else if (run === 2) {
            put(body.getBigUint64(at, true), body.getUint16(at + 8, true), body.getUint16(at + 10, true));
            at += 12;
          } else if (run === 3) {
            entries.delete(body.getBigUint64(at, true));
            at += 8;
          } else throw new Error(`run ${run}`);
        }
      }
    } else sections.push({ kind, payload });
  }
  return { entries, sections, state: { sets, words } };
}
