import type { TokenBytes } from "../../agent/wire.js";
import { Wire } from "../../agent/wire.js";

/** Token id i (0–255) stands for the byte i, eight times: a block of 16 tokens is one text block of 128 bytes. */
export function byteTokens(): TokenBytes {
  const offsets = new Uint32Array(257);
  const bytes = new Uint8Array(256 * 8);
  for (let i = 0; i < 256; i++) {
    offsets[i + 1] = (i + 1) * 8;
    bytes.fill(i, i * 8, i * 8 + 8);
  }
  return { offsets, bytes, known: new Uint8Array(256).fill(1) };
}

export async function wireForTest(): Promise<{ wire: Wire; model: number }> {
  const wire = await Wire.create({
    secret: new Uint8Array(32).fill(7),
    blockBytes: 128,
    maxEntries: 100_000,
    leader: 1n,
    startMs: 1n,
  });
  const model = wire.addModel("m");
  wire.setTokenBytes(model, byteTokens());
  return { wire, model };
}

/** 16 tokens that differ by `n`. */
export function tokensOf(n: number): number[] {
  return Array.from({ length: 16 }, (_, i) => (n * 31 + i) % 256);
}
