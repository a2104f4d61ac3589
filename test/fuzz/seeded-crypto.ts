// The test host draws its random bytes from the process's crypto; for the time of a case they come from the seed.
import type { Random } from "./random.js";

/** Runs `body` while `crypto.getRandomValues` draws from `random`. */
export function withSeededCrypto<T>(random: Random, body: () => T): T {
  const draw = <A extends ArrayBufferView | null>(array: A): A => {
    if (array) {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      for (let i = 0; i < bytes.length; i++) bytes[i] = random.word();
    }
    return array;
  };
  Object.defineProperty(globalThis.crypto, "getRandomValues", { value: draw, configurable: true });
  try {
    return body();
  } finally {
    // What lies below is the prototype's own.
    delete (globalThis.crypto as unknown as Record<string, unknown>)["getRandomValues"];
  }
}
