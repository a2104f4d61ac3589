// Workloads that are made, not replayed. docs/simulate.md says whose they are and where they differ.
import type { EngineName } from "./engine.js";
import type { Random } from "./random.js";
import type { Load, SimRequest } from "./request.js";

interface Workload {
  engine: EngineName;
  about: string;
  make(random: Random, rate: number | undefined): { stages: SimRequest[][]; blockTokens: number };
}

export const WORKLOADS: Readonly<Record<string, Workload>> = {
  b2b: {
    engine: "32b-2xh100",
    about:
      "150 shared prefixes × 5 prompts, 6,000 + 1,200 tokens in, 1,000 out, a ladder from 3 to 60 requests/s",
    make: sharedPrefixLadder,
  },
  "code-gen": {
    engine: "8b-h100",
    about: "coding sessions: 3,000 tokens shared, 20,000 own, turns of 1,500 in and 425 out",
    make: codeGeneration,
  },
  reasoning: {
    engine: "8b-h100",
    about: "250 tokens shared, 1,000 own, 8,000 out",
    make: reasoning,
  },
};

/** Hands out block ids for one text after the other. */
function blockSource(blockTokens: number): (tokens: number) => number[] {
  let next = 0;
  return (tokens) => Array.from({ length: Math.ceil(tokens / blockTokens) }, () => next++);
}

/** Requests/s × seconds; llm-d-benchmark's precise-prefix-cache guide. The first is the warm-up. */
const LADDER: readonly (readonly [number, number])[] = [
  [15, 50],
  [3, 20],
  [10, 20],
  [15, 20],
  [20, 38],
  [22, 34],
  [25, 30],
  [30, 25],
  [35, 21],
  [40, 38],
  [43, 36],
  [46, 33],
  [49, 30],
  [52, 29],
  [55, 27],
  [57, 26],
  [60, 25],
];
/** Seconds between the end of a stage and the next one. */
const PAUSE_S = 30;

function sharedPrefixLadder(random: Random, rate: number | undefined) {
  const blockTokens = 48;
  const blocks = blockSource(blockTokens);
  const prompts: { blocks: number[]; session: number }[] = [];
  for (let group = 0; group < 150; group++) {
    const system = blocks(6000);
    for (let i = 0; i < 5; i++) prompts.push({ blocks: [...system, ...blocks(1200)], session: group + 1 });
  }
  let order: typeof prompts = [];
  const stages = (rate === undefined ? LADDER : [[rate, 300] as const]).map(([perSecond, seconds]) => {
    let at = 0;
    return Array.from({ length: Math.ceil(perSecond * seconds) }, (): SimRequest => {
      at += random.exponential(1 / perSecond);
      if (order.length === 0) order = shuffled(prompts, random);
      return { arrival: at, prompt: 7200, output: 1000, ...order.pop()! };
    });
  });
  return { stages, blockTokens };
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

const within = (n: number, least: number, most: number) => Math.round(Math.min(most, Math.max(least, n)));

const CODE_BLOCK = 256;
const CODE_SESSIONS = 200;
const CODE_TURNS = 20;
/** A turn's answer takes about so long per token; the next turn waits for it. */
const CODE_TOKEN_S = 0.03;

function codeGeneration(random: Random, rate: number = 2) {
  const requests: SimRequest[] = [];
  const blocks = blockSource(CODE_BLOCK);
  const shared = blocks(3000);
  let start = 0;
  for (let session = 1; session <= CODE_SESSIONS; session++) {
    start += random.exponential(CODE_TURNS / rate);
    let at = start;
    let length = 3000 + within(random.logNormal(20_000, 15_000), 5000, 60_000);
    // The shared prompt ends inside a block, which is each session's own from there on.
    const own = [...shared.slice(0, -1)];
    for (let turn = 0; turn < CODE_TURNS; turn++) {
      length += within(random.logNormal(1500, 1200), 100, 10_000);
      const output = within(random.logNormal(425, 825), 50, 10_000);
      own.push(...blocks(length - own.length * CODE_BLOCK));
      requests.push({ arrival: at, prompt: length, output, blocks: [...own], session });
      // The last block is partly empty: with the answer and the next turn in it, it is another one.
      own.length = Math.floor(length / CODE_BLOCK);
      length += output;
      at += output * CODE_TOKEN_S + within(random.logNormal(15, 55), 1, 100);
    }
  }
  requests.sort((a, b) => a.arrival - b.arrival);
  return { stages: [requests], blockTokens: CODE_BLOCK };
}

function reasoning(random: Random, rate: number = 2) {
  const blockTokens = 50;
  const blocks = blockSource(blockTokens);
  const system = blocks(250);
  const requests: SimRequest[] = [];
  let at = 0;
  for (let i = 0; i < 1000; i++) {
    const input = within(random.logNormal(1000, 800), 100, 5000);
    const output = within(random.exponential(8000), 500, 32_000);
    requests.push({
      arrival: at,
      prompt: 250 + input,
      output,
      blocks: [...system, ...blocks(input)],
      session: 0,
    });
    at += random.exponential(1 / rate);
  }
  return { stages: [requests], blockTokens };
}

/** A workload's requests; `rate` in requests per second replaces its own pace. */
export function makeWorkload(name: string, random: Random, rate: number | undefined, limit: number): Load {
  const { stages, blockTokens } = WORKLOADS[name]!.make(random, rate);
  let room = limit;
  const taken = stages.map((stage) => {
    const some = stage.slice(0, room);
    room -= some.length;
    return some;
  });
  return { name, stages: taken.filter((stage) => stage.length > 0), pause: PAUSE_S, blockTokens };
}
