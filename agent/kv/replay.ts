// Asks an engine's replay ROUTER for past batches.
import { Dealer } from "zeromq";

/** A batch as published: its sequence number and its msgpack payload. */
export interface Batch {
  sequence: number;
  payload: Uint8Array;
}

/** The engine did not answer in time. */
export class ReplayTimeout extends Error {
  override readonly name = "ReplayTimeout";
}

const END = 0xffff_ffff_ffff_ffffn;

/**
 * Reads the frames of a published message or of a replay answer. They are parsed from the end, since some releases
 * put the topic before the sequence. Null = the end of a replay.
 * @throws RangeError when the frames are neither.
 */
export function parseFrames(frames: Uint8Array[]): Batch | null {
  const payload = frames.at(-1);
  const sequence = frames.at(-2);
  if (!payload || sequence?.length !== 8)
    throw new RangeError(`${frames.length} frames without a sequence number`);
  const number = new DataView(sequence.buffer, sequence.byteOffset, 8).getBigUint64(0);
  if (number === END || payload.length === 0) return null;
  return { sequence: Number(number), payload };
}

/**
 * Batches from `start` on, oldest first, as the engine still has them; ends after the newest.
 * @throws ReplayTimeout when nothing came for `timeoutMs`.
 */
export async function* replay(endpoint: string, start: number, timeoutMs: number): AsyncGenerator<Batch> {
  const socket = new Dealer({
    linger: 0,
    receiveHighWaterMark: 0,
    receiveTimeout: timeoutMs,
    sendTimeout: timeoutMs,
  });
  try {
    socket.connect(endpoint);
    const from = Buffer.alloc(8);
    from.writeBigUInt64BE(BigInt(start));
    try {
      await socket.send([Buffer.alloc(0), from]);
      for (;;) {
        const batch = parseFrames((await socket.receive()) as Buffer[]);
        if (!batch) return;
        yield batch;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN")
        throw new ReplayTimeout(`${endpoint} did not answer within ${timeoutMs} ms`);
      throw error;
    }
  } finally {
    socket.close();
  }
}
