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

/** Messages that may wait on our side of a socket; a peer drops or waits beyond that. */
export const RECEIVE_HIGH_WATER_MARK = 200_000;

/** Asks one engine's replay endpoint, over a connection that stays between two questions. Not for two at a time. */
export class ReplayClient {
  readonly #endpoint: string;
  readonly #timeoutMs: number;
  #socket: Dealer | null = null;

  /** Answers may be silent for `timeoutMs`. */
  constructor(endpoint: string, timeoutMs: number) {
    this.#endpoint = endpoint;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Batches from `start` on, oldest first, as the engine still has them; ends after the newest.
   * @throws ReplayTimeout when nothing came for `timeoutMs`.
   */
  async *from(start: number): AsyncGenerator<Batch> {
    const socket = this.#socket ?? this.#connect();
    let answered = false;
    const from = Buffer.alloc(8);
    from.writeBigUInt64BE(BigInt(start));
    try {
      await socket.send([Buffer.alloc(0), from]);
      for (;;) {
        const batch = parseFrames((await socket.receive()) as Buffer[]);
        if (!batch) {
          answered = true;
          return;
        }
        yield batch;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN")
        throw new ReplayTimeout(`${this.#endpoint} did not answer within ${this.#timeoutMs} ms`);
      throw error;
    } finally {
      // What may still come of an answer that was not read to its end must not be taken for the next one's.
      if (!answered) this.close();
    }
  }

  close(): void {
    this.#socket?.close();
    this.#socket = null;
  }

  #connect(): Dealer {
    this.#socket = new Dealer({
      linger: 0,
      receiveHighWaterMark: RECEIVE_HIGH_WATER_MARK,
      receiveTimeout: this.#timeoutMs,
      sendTimeout: this.#timeoutMs,
    });
    this.#socket.connect(this.#endpoint);
    return this.#socket;
  }
}
