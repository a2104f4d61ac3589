// Plays conversations in four lanes. A lane has a few conversations open and goes on with any of them, so that some
// come back after their blocks were evicted.
import type { Answer, GatewayClient } from "./client.js";
import { Conversation, KINDS, type Turn } from "./conversations.js";

const LANES = 4;
const OPEN_PER_LANE = 3;

export interface Played {
  turn: Turn;
  answer: Answer;
  /** Number of the request within its conversation, from 0. */
  index: number;
}

interface PlayOptions {
  client: GatewayClient;
  model: string;
  requests: number;
  /** From an answer to the lane's next request, ms. */
  pauseMs: number;
  random: () => number;
}

/** Conversations that outlive a phase: after a fault the same ones go on. */
export class Player {
  readonly #lanes: { open: { conversation: Conversation; index: number }[] }[];
  readonly #options: PlayOptions;
  #kind = 0;

  constructor(options: PlayOptions) {
    this.#options = options;
    this.#lanes = Array.from({ length: LANES }, () => ({ open: [] }));
  }

  /** Sends `count` requests in all lanes together. @throws when the gateway cannot be reached. */
  async play(count: number): Promise<Played[]> {
    const played: Played[] = [];
    let left = count;
    await Promise.all(
      this.#lanes.map(async (lane, i) => {
        // Staggered, so that lanes with pauses do not move in step.
        await pause((this.#options.pauseMs * i) / LANES);
        while (left-- > 0) {
          played.push(await this.#step(lane));
          await pause(this.#options.pauseMs);
        }
      }),
    );
    return played;
  }

  async #step(lane: { open: { conversation: Conversation; index: number }[] }): Promise<Played> {
    const { client, model, random } = this.#options;
    while (lane.open.length < OPEN_PER_LANE) {
      const kind = KINDS[this.#kind++ % KINDS.length]!;
      lane.open.push({ conversation: new Conversation(kind, model, random), index: 0 });
    }
    const chosen = lane.open[Math.floor(random() * lane.open.length)]!;
    const turn = chosen.conversation.next();
    const answer = await client.send(turn);
    chosen.conversation.answered(answer.status === 200 ? answer.text : "");
    if (chosen.conversation.over) lane.open.splice(lane.open.indexOf(chosen), 1);
    return { turn, answer, index: chosen.index++ };
  }
}

async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((wake) => setTimeout(wake, ms));
}
