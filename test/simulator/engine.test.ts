import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { H200_8B } from "../../simulate/cost-model.js";
import { BlockPool } from "../../simulator/block-pool.js";
import { Engine } from "../../simulator/engine.js";
import { EventBatch } from "../../simulator/event-batch.js";
import { AnswerWriter } from "../../simulator/generated-text.js";
import { Scheduler } from "../../simulator/scheduler.js";
import { Sequence } from "../../simulator/sequence.js";
import type { Clock } from "../../simulator/sim-clock.js";
import { Vocabulary } from "../../simulator/vocabulary.js";

const BLOCK = 16;
let writer: AnswerWriter;

beforeAll(() => {
  writer = new AnswerWriter(Vocabulary.load(), 0);
});

/** A clock that moves when told to. */
class HandClock implements Clock {
  readonly scale = 1;
  time = 0;
  now(): number {
    return this.time;
  }
  realMsUntil(simulated: number): number {
    return simulated - this.time;
  }
}

interface Bench {
  clock: HandClock;
  engine: Engine;
  scheduler: Scheduler;
  pool: BlockPool;
  /** Adds a sequence that arrived at `arrivedAt`, which the engine has expected. */
  add(prompt: number[], maxTokens: number, arrivedAt: number): Sequence;
  finished: Sequence[];
}

function bench(blocks: number, maxNumSeqs = 256): Bench {
  const clock = new HandClock();
  const events = new EventBatch("map", "int", BLOCK);
  const pool = new BlockPool(blocks, { evicted: (low, high) => events.removed(low, high) });
  const scheduler = new Scheduler(pool, events, { blockSize: BLOCK, maxNumSeqs, maxBatchedTokens: 8192 });
  const finished: Sequence[] = [];
  const engine = new Engine(scheduler, clock, H200_8B, writer, {
    planned: () => {
      if (!events.empty) events.take(0);
    },
    stepped: () => {},
    firstToken: () => {},
    nextToken: () => {},
    finished: (sequence) => finished.push(sequence),
  });
  const add = (prompt: number[], maxTokens: number, arrivedAt: number): Sequence => {
    const options = { maxTokens, arrivedAt, endsTurn: false, salt: "", sessionId: "", progressInterval: 1 };
    const sequence = new Sequence(
      { ...options, prompt: Uint32Array.from(prompt), progressed: () => {} },
      BLOCK,
    );
    engine.add(sequence, arrivedAt + H200_8B.frontEndMs);
    return sequence;
  };
  return { clock, engine, scheduler, pool, add, finished };
}

/** A request of `length` tokens of its own after `shared` tokens common to all. */
function promptOf(own: number, shared: number, length: number): number[] {
  return [
    ...Array.from({ length: shared }, (_, i) => i),
    ...Array.from({ length }, (_, i) => 1000 * (own + 1) + i),
  ];
}

function submit(test: Bench, prompt: number[], maxTokens: number): Sequence {
  test.engine.expect(test.clock.time);
  const sequence = test.add(prompt, maxTokens, test.clock.time);
  test.engine.unexpect();
  return sequence;
}

/** Runs until everything has ended, in steps of at most `stride` ms. */
function settle(test: Bench, stride = 50): void {
  for (let i = 0; i < 100_000 && test.scheduler.running.length + test.scheduler.waiting.length > 0; i++) {
    test.clock.time += stride;
    test.engine.advance();
  }
  test.engine.stop();
}

describe("engine", () => {
  it("finds 144 of 160 tokens when a prompt is repeated, for the last token is always computed", () => {
    const test = bench(64);
    const first = submit(test, promptOf(0, 0, 160), 1);
    settle(test);
    const second = submit(test, promptOf(0, 0, 160), 1);
    settle(test);
    expect([first.cachedTokens, second.cachedTokens]).toEqual([0, 144]);
  });

  it("looks a prompt up when it is scheduled and not when it arrives", () => {
    const test = bench(64, 1);
    const first = submit(test, promptOf(0, 0, 100), 1);
    const second = submit(test, promptOf(0, 0, 100), 1);
    settle(test);
    expect(first.cachedTokens).toBe(0);
    expect(second.cachedTokens).toBe(96);
  });

  it("shares a prefix among sequences of one step, since blocks are cached as they are scheduled", () => {
    const test = bench(64);
    const sequences = [0, 1, 2].map((own) => submit(test, promptOf(own, 64, 10), 1));
    settle(test);
    expect(sequences.map((sequence) => sequence.cachedTokens)).toEqual([0, 64, 64]);
    expect(new Set(sequences.map((sequence) => sequence.firstTokenAt)).size).toBe(1);
  });

  it("caches generated tokens as their blocks fill, but not the last token", () => {
    const test = bench(64);
    const first = submit(test, promptOf(0, 0, 20), 45);
    settle(test);
    const longer = submit(test, [...Array.from(first.tokens), 7, 8, 9], 1);
    settle(test);
    expect(first.length).toBe(65);
    expect(longer.cachedTokens).toBe(64);
  });

  it("cuts a long prefill into chunks of the token budget and lets running sequences go on", () => {
    const test = bench(4096);
    const running = submit(test, promptOf(0, 0, 20), 40);
    test.clock.time = 100;
    test.engine.advance();
    const long = submit(test, promptOf(1, 0, 20_000), 1);
    settle(test);
    const chunks = 3;
    const cost = 20_000 * H200_8B.prefillPerTokenMs + 20_000 ** 2 * H200_8B.prefillPerSquareMs;
    expect(long.firstTokenAt - long.arrivedAt).toBeGreaterThan(cost);
    expect(running.lastTokenAt).toBeGreaterThan(long.firstTokenAt);
    expect(running.generated).toBe(40);
    expect(long.promptLength / 8192).toBeLessThan(chunks);
  });

  it("keeps the order of arrival", () => {
    const test = bench(2048, 1);
    const sequences = [5000, 100, 2000].map((length, own) => submit(test, promptOf(own, 0, length), 1));
    settle(test);
    expect(test.finished).toEqual(sequences);
  });

  it("preempts the sequence admitted last when blocks run out, and finishes it later", () => {
    const test = bench(12);
    const [first, second] = [submit(test, promptOf(0, 0, 64), 60), submit(test, promptOf(1, 0, 64), 60)];
    settle(test);
    expect(test.scheduler.counts.preemptions).toBeGreaterThan(0);
    expect([first.preemptions, second.preemptions > 0]).toEqual([0, true]);
    expect([first.generated, second.generated]).toEqual([60, 60]);
    expect(second.cachedTokens).toBe(0);
    expect(test.pool.usage).toBe(0);
  });

  it("gives the blocks of a sequence back when its client goes", () => {
    const test = bench(64);
    const gone = submit(test, promptOf(0, 0, 100), 1000);
    const stays = submit(test, promptOf(1, 0, 100), 5);
    test.clock.time = 60;
    test.engine.advance();
    test.engine.abort(gone);
    settle(test);
    expect(test.finished).toEqual([stays]);
    expect(test.pool.usage).toBe(0);
  });

  const arrivals = fc.array(
    fc.record({
      gap: fc.integer({ min: 0, max: 60 }),
      tokenizing: fc.integer({ min: 0, max: 80 }),
      shared: fc.integer({ min: 0, max: 40 }),
      own: fc.integer({ min: 1, max: 900 }),
      output: fc.integer({ min: 1, max: 40 }),
    }),
    { minLength: 1, maxLength: 12 },
  );

  it("gives the same simulated times however late its timers fire and its tokenizer is", () => {
    const run = (
      requests: { gap: number; tokenizing: number; shared: number; own: number; output: number }[],
      late: boolean,
    ) => {
      const test = bench(300, 4);
      const sequences: Sequence[] = [];
      const work: { at: number; order: number; what: () => void }[] = [];
      let arrivedAt = 0;
      let tokenized = 0;
      requests.forEach((request, i) => {
        arrivedAt += request.gap;
        const at = arrivedAt;
        // The tokenizer is a queue: nobody is done before the one ahead.
        tokenized = Math.max(tokenized, at) + (late ? request.tokenizing : 0);
        work.push({ at, order: 2 * i, what: () => void test.engine.expect(at) });
        const what = (): void => {
          sequences.push(test.add(promptOf(i, request.shared, request.own), request.output, at));
          test.engine.unexpect();
        };
        work.push({ at: tokenized, order: 2 * i + 1, what });
      });
      work.sort((a, b) => a.at - b.at || a.order - b.order);
      for (const { at, what } of work) {
        for (; !late && test.clock.time + 1 < at; test.clock.time++) test.engine.advance();
        test.clock.time = at;
        what();
      }
      settle(test, late ? 137 : 1);
      return sequences.map(({ firstTokenAt, lastTokenAt, cachedTokens }) => [
        firstTokenAt,
        lastTokenAt,
        cachedTokens,
      ]);
    };
    fc.assert(
      fc.property(arrivals, (requests) => {
        expect(run(requests, true)).toEqual(run(requests, false));
      }),
      { numRuns: 60 },
    );
  });

  it("never loses a block, whatever comes, goes and is preempted", () => {
    fc.assert(
      fc.property(arrivals, fc.array(fc.nat(11), { maxLength: 4 }), (requests, aborted) => {
        const test = bench(70, 6);
        const sequences = requests.map((request, i) => {
          test.clock.time += request.gap;
          return submit(test, promptOf(i, request.shared, request.own), request.output);
        });
        for (const i of aborted) if (sequences[i]) test.engine.abort(sequences[i]);
        settle(test);
        expect(test.pool.usage).toBe(0);
        const gone = new Set(aborted.filter((i) => sequences[i]?.generated !== sequences[i]?.maxTokens));
        sequences.forEach((sequence, i) => {
          if (!gone.has(i)) expect(sequence.generated).toBe(sequence.maxTokens);
        });
      }),
      { numRuns: 100 },
    );
  });
});
