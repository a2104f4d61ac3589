// What every test's agent begins with: a wire, a vocabulary of bytes, pods with nothing to do.
import { type PodRow, type TokenBytes, Wire, type WireOptions } from "../../agent/wire.js";

export const newWire = (options: Partial<WireOptions> = {}): Promise<Wire> =>
  Wire.create({
    secret: new Uint8Array(32).fill(7),
    blockBytes: 128,
    maxEntries: 100_000,
    leader: 1n,
    startMs: 1n,
    ...options,
  });

/** A vocabulary whose token i (0–255) stands for the byte i, so many times. */
export function byteTokens(times = 1): TokenBytes {
  return {
    offsets: Uint32Array.from({ length: 257 }, (_, i) => i * times),
    bytes: Uint8Array.from({ length: 256 * times }, (_, i) => Math.floor(i / times)),
    known: new Uint8Array(256).fill(1),
  };
}

/** A ready pod of a model that does everything and has nothing to do. */
export const podRow = (slot: number, model: number, more: Partial<PodRow> = {}): PodRow => ({
  slot,
  name: `pod-${slot}`,
  address: `10.0.0.${slot + 1}:8000`,
  role: "both",
  ready: true,
  model,
  kvBlockTokens: 16,
  capacityTokens: 100_000,
  prefillTokensPerSecond: 40_000,
  waiting: 0,
  running: 0,
  kvUsage: 0,
  loadAgeMs: 0,
  ...more,
});
