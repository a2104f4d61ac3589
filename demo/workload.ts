// What is sent: conversations whose turns wait for one another, with text made of plain words from a seed.
import { seeded } from "../simulate/random.js";
import { Vocabulary } from "../simulator/vocabulary.js";

/** One user turn: the conversation so far, plus this text, is sent `thinkS` simulated seconds after the last answer. */
export interface Turn {
  text: string;
  /** Tokens to generate. */
  outputTokens: number;
  /** Pause after the answer before this turn, simulated seconds; 0 for the first. */
  thinkS: number;
}

export interface Conversation {
  /** Simulated seconds from the start of the run. */
  startS: number;
  system: string | null;
  turns: Turn[];
  /** Whether later turns send the answers along (a chat) or each turn stands alone (a trace row). */
  grows: boolean;
  /** Sent as x-session-id. */
  session?: string;
}

export interface Workload {
  name: string;
  conversations: Conversation[];
  /** Sent, and waited for, before anything is counted. */
  warmUp: Conversation[];
}

/** Words that are one token each when a space stands before them. */
export class Words {
  readonly #words: string[] = [];

  constructor(vocabulary = Vocabulary.load()) {
    for (let id = 0; id < Math.min(vocabulary.size, 20_000); id++) {
      const bytes = vocabulary.bytes(id);
      if (/^ [a-z]{3,9}$/.test(bytes)) this.#words.push(bytes.slice(1));
    }
  }

  /** About `tokens` tokens of text in lines; it starts with a letter and ends with a line feed. */
  text(tokens: number, random: () => number): string {
    let out = "";
    for (let i = 1; i < tokens; i++) {
      out += this.#words[Math.floor(random() * this.#words.length)];
      out += i % 24 === 23 || i === tokens - 1 ? "\n" : " ";
    }
    return out || "\n";
  }
}

const exponential = (random: () => number, mean: number) => -Math.log(1 - random()) * mean;
const between = (random: () => number, low: number, high: number) =>
  Math.round(low + random() * (high - low));

/**
 * Chats of customers that share their company's system prompt, and agents that work on a shared context. Sizes:
 * system 6,000 tokens and question 1,200 as in llm-d's b2b-saas profile (guide precise-prefix-cache-routing); answers
 * around 211 tokens, the mean of Azure's 2023 conversation trace; agent context 12,035 tokens, the mean input of
 * Mooncake's conversation trace, whose steps add tool output.
 */
export function mixedWorkload(words: Words, seed: number, durationS: number): Workload {
  const random = seeded(seed);
  const conversations: Conversation[] = [];
  const companies = Array.from({ length: 8 }, () => words.text(6000, random));
  for (const system of companies) {
    for (let user = 0; user < 4; user++) {
      const turns = between(random, 3, 5);
      conversations.push({
        startS: random() * durationS * 0.5,
        system,
        grows: true,
        turns: Array.from({ length: turns }, (_, i) => ({
          text: words.text(between(random, 250, 750), random),
          outputTokens: Math.max(16, Math.round(exponential(random, 211) / 2)),
          thinkS: i === 0 ? 0 : 2 + exponential(random, durationS / 20),
        })),
      });
    }
  }
  for (let project = 0; project < 3; project++) {
    const context = words.text(12_035, random);
    for (let agent = 0; agent < 3; agent++) {
      conversations.push({
        startS: random() * durationS * 0.4,
        system: context,
        grows: true,
        turns: Array.from({ length: between(random, 5, 8) }, (_, i) => ({
          text: words.text(between(random, 200, 900), random),
          outputTokens: between(random, 30, 120),
          thinkS: i === 0 ? 0 : 0.5 + exponential(random, 1.5),
        })),
      });
    }
  }
  return { name: "mixed", conversations, warmUp: [] };
}

/** One set of conversations over shared prompts after a tiny warm-up: how high the hit rate climbs. */
export function rampWorkload(words: Words, seed: number): Workload {
  const random = seeded(seed);
  const systems = Array.from({ length: 4 }, () => words.text(12_035, random));
  const chat = (system: string, turns: number, startS: number): Conversation => ({
    startS,
    system,
    grows: true,
    turns: Array.from({ length: turns }, (_, i) => ({
      text: words.text(between(random, 40, 90), random),
      outputTokens: 48,
      thinkS: i === 0 ? 0 : 1 + random() * 2,
    })),
  });
  return {
    name: "ramp",
    warmUp: systems.map((s) => chat(s, 1, 0)),
    conversations: systems.flatMap((s) => Array.from({ length: 4 }, (_, i) => chat(s, 8, i * 2 + random()))),
  };
}

/**
 * Long documents between chats: a question about a text of 8,000 to 16,000 tokens comes while short chats are being
 * answered, whose next tokens wait when the same pod computes the document.
 */
export function longAndShortWorkload(words: Words, seed: number, durationS: number): Workload {
  const random = seeded(seed);
  const single = (startS: number, tokens: number, outputTokens: number): Conversation => ({
    startS,
    system: null,
    grows: false,
    turns: [{ text: words.text(tokens, random), outputTokens, thinkS: 0 }],
  });
  const conversations: Conversation[] = [];
  for (let at = exponential(random, 0.6); at < durationS; at += exponential(random, 0.6))
    conversations.push(single(at, between(random, 8000, 16_000), between(random, 16, 64)));
  for (let at = exponential(random, 0.25); at < durationS; at += exponential(random, 0.25))
    conversations.push(single(at, between(random, 100, 400), between(random, 150, 450)));
  return { name: "long and short", conversations, warmUp: [] };
}

const logNormal = (random: () => number, mean: number, deviation: number) => {
  const variance = Math.log(1 + (deviation / mean) ** 2);
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * normal);
};

/** Turns of a conversation of the knee workload, and seconds until the last ones of it have come. */
const KNEE_TURNS = 4;
const KNEE_SPAN_S = 40;

/**
 * Conversations whose requests come when they are due, whatever became of the ones before, so that every policy meets
 * the same requests: one of four system prompts, a first turn that is mostly short and sometimes very long, then turns
 * that add to it. Lengths after Mooncake's conversation trace: a long tail, answers a good deal shorter than prompts.
 * @param rate requests per simulated second
 */
export function kneeWorkload(words: Words, seed: number, durationS: number, rate: number): Workload {
  const random = seeded(seed);
  const systems = Array.from({ length: 4 }, () => words.text(2000, random));
  const conversations: Conversation[] = [];
  // Those that began before are in their later turns.
  for (let id = 0, at = -KNEE_SPAN_S; at < durationS; at += exponential(random, KNEE_TURNS / rate), id++) {
    const system = systems[Math.floor(random() * systems.length)]!;
    let text = words.text(Math.min(40_000, Math.round(200 + logNormal(random, 6000, 9000))), random);
    let startS = at;
    for (let turn = 0; turn < KNEE_TURNS; turn++) {
      const outputTokens = Math.round(16 + exponential(random, 180));
      if (startS >= 0 && startS < durationS)
        conversations.push({
          startS,
          system,
          grows: false,
          session: `conversation-${id}`,
          turns: [{ text, outputTokens, thinkS: 0 }],
        });
      startS += 4 + exponential(random, 8);
      text += words.text(between(random, 300, 1500), random);
    }
  }
  return { name: "knee", conversations, warmUp: [] };
}
