// Bodies of exact size for the bench: chat JSON of 8–40 messages with an escape each 60 bytes and 3 % of the
// characters beyond ASCII. Seeded, so that a run can be repeated.
import { seeded } from "../../simulate/random.js";
import { renderChatml } from "../wasm/table.js";

export interface BenchBody {
  bytes: Buffer;
  /** What the filter renders and hashes. */
  prompt: Uint8Array;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz      ";

function content(bytes: number, random: () => number): string {
  let out = "";
  let size = 0;
  let sinceEscape = 0;
  while (size < bytes) {
    let piece = LETTERS[Math.floor(random() * LETTERS.length)]!;
    let width = 1;
    if (sinceEscape >= 58) {
      piece = random() < 0.7 ? "\n" : '"';
      width = 2;
      sinceEscape = 0;
    } else if (random() < 0.03 && size + 2 <= bytes) {
      piece = "é";
      width = 2;
    }
    if (size + width > bytes) break;
    out += piece;
    size += width;
    sinceEscape += width;
  }
  return out.padEnd(out.length + (bytes - size), "x");
}

/** `count` different bodies of exactly `bytes` bytes. */
export function benchBodies(bytes: number, count: number, seed: number): BenchBody[] {
  return Array.from({ length: count }, (_, i) => {
    const random = seeded(seed * 1000 + i);
    const most = Math.min(40, Math.max(8, Math.floor(bytes / 600)));
    const messages = Array.from(
      { length: bytes < 1500 ? 8 : 8 + Math.floor(random() * (most - 7)) },
      (_m, m) => ({
        role: m === 0 ? "system" : m % 2 ? "user" : "assistant",
        content: "",
      }),
    );
    const frame = { model: "m", messages, stream: false, max_tokens: 16, temperature: 0.7 };
    const room = bytes - Buffer.byteLength(JSON.stringify(frame));
    const share = Math.floor(room / messages.length);
    messages.forEach((m, j) => {
      m.content = content(j === messages.length - 1 ? room - share * (messages.length - 1) : share, random);
    });
    const body = Buffer.from(JSON.stringify(frame));
    if (body.length !== bytes) throw new Error(`a body of ${body.length} bytes instead of ${bytes}`);
    return { bytes: body, prompt: renderChatml(messages) };
  });
}
