import type { Wire } from "../../agent/wire.js";
import { byteTokens, newWire } from "../wasm/wire-for-test.js";

/** Each token is a byte eight times: a block of 16 tokens is one text block of 128 bytes. */
export async function wireForTest(): Promise<{ wire: Wire; model: number }> {
  const wire = await newWire();
  const model = wire.addModel("m");
  wire.setTokenBytes(model, byteTokens(8));
  return { wire, model };
}

/** 16 tokens that differ by `n`. */
export function tokensOf(n: number): number[] {
  return Array.from({ length: 16 }, (_, i) => (n * 31 + i) % 256);
}
