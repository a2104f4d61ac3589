// Continuous batching on a simulated clock. A step is planned when the one before it has ended and takes what the cost
// model says; timers only notice that simulated time has passed, so a late one delays what a client sees once and is
// never added up.
import type { CostModel } from "../simulate/cost-model.js";
import { StepWork } from "../simulate/cost-model.js";
import type { AnswerWriter } from "./generated-text.js";
import type { Scheduler } from "./scheduler.js";
import type { Sequence } from "./sequence.js";
import type { Clock } from "./sim-clock.js";

/** A step counts as over so many real ms early, half the timers' grain, so that lateness averages out. */
const TIMER_SLACK_MS = 0.5;
/** Steps that show a client nothing are caught up with at least this often, real ms. */
const QUIET_MS = 8;
/** Longest timer, real ms. */
const LONGEST_MS = 60_000;

/** Told about the engine's progress. Times in simulated ms. */
export interface EngineListener {
  /** A step was planned, so that its cache events are complete. */
  planned(): void;
  /** A step of so many tokens ended. */
  stepped(tokens: number): void;
  /** First token; `lateMs` = real ms after it was due. */
  firstToken(sequence: Sequence, lateMs: number): void;
  /** Any later token, `gap` after the one before. */
  nextToken(gap: number): void;
  finished(sequence: Sequence): void;
}

/** Runs sequences. */
export class Engine {
  readonly scheduler: Scheduler;
  readonly #clock: Clock;
  readonly #model: CostModel;
  readonly #work: StepWork;
  readonly #writer: AnswerWriter;
  readonly #listener: EngineListener;
  /** `readyAt` of requests whose tokens are still being made, in order. */
  readonly #expected: number[] = [];
  #stepStart = 0;
  #stepEnd = 0;
  #stepTokens = 0;
  /** The next step waits for the tokenizer. */
  #held = false;
  #timer: NodeJS.Timeout | null = null;
  #timerAt = 0;

  constructor(
    scheduler: Scheduler,
    clock: Clock,
    model: CostModel,
    writer: AnswerWriter,
    listener: EngineListener,
  ) {
    this.scheduler = scheduler;
    this.#clock = clock;
    this.#model = model;
    this.#work = new StepWork(model);
    this.#writer = writer;
    this.#listener = listener;
  }

  /**
   * A request that arrived at `arrivedAt` is being tokenized: no step that should see it is planned until its sequences
   * are added (`add`) or it is given up (`unexpect`), first expected first. So the simulator's tokenizing costs no
   * simulated time. @returns when the scheduler may see it.
   */
  expect(arrivedAt: number): number {
    const readyAt = arrivedAt + this.#model.frontEndMs;
    this.#expected.push(readyAt);
    return readyAt;
  }

  /** The oldest expected request has been added, or will not come. */
  unexpect(): void {
    this.#expected.shift();
    this.advance();
  }

  /** Queues a sequence; `advance` or `unexpect` must follow. */
  add(sequence: Sequence, readyAt: number): void {
    sequence.hashFullBlocks();
    sequence.readyAt = readyAt;
    this.scheduler.waiting.push(sequence);
  }

  /** Drops a sequence whose client has gone. */
  abort(sequence: Sequence): void {
    this.scheduler.remove(sequence);
  }

  /** Catches up with the clock. */
  advance(): void {
    const now = this.#clock.now() + TIMER_SLACK_MS * this.#clock.scale;
    for (;;) {
      if (this.#stepTokens > 0) {
        if (this.#stepEnd > now) break;
        this.#endStep();
      }
      if (!this.#startStep(now)) break;
    }
    this.#arm();
  }

  /** Stops for good. */
  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = Number.NEGATIVE_INFINITY;
  }

  #startStep(now: number): boolean {
    const { running, waiting } = this.scheduler;
    let start = this.#stepEnd;
    // With one step always queued behind the running one, the plan is made about half a step ahead.
    let cutoff = this.#stepStart + (this.#stepEnd - this.#stepStart) / 2;
    if (running.length === 0) {
      const first = waiting[0];
      if (first === undefined) return false;
      start = Math.max(start, first.readyAt);
      cutoff = start;
    }
    if (start > now) return false;
    const expected = this.#expected[0];
    this.#held = expected !== undefined && expected <= cutoff;
    if (this.#held) return false;
    this.#work.clear();
    this.#stepTokens = this.scheduler.plan(start, cutoff, this.#work);
    if (this.#stepTokens === 0) return false;
    this.#stepStart = start;
    this.#stepEnd = start + this.#work.durationMs();
    this.#listener.planned();
    return true;
  }

  #endStep(): void {
    const { running } = this.scheduler;
    const end = this.#stepEnd;
    this.#listener.stepped(this.#stepTokens);
    this.#stepTokens = 0;
    const done: Sequence[] = [];
    for (let i = 0; i < running.length; i++) {
      const sequence = running[i] as Sequence;
      sequence.computed += sequence.scheduled;
      if (sequence.scheduled === 0 || sequence.computed < sequence.length) {
        sequence.scheduled = 0;
        continue;
      }
      sequence.scheduled = 0;
      this.#generate(sequence, end);
      if (sequence.generated >= sequence.maxTokens) done.push(sequence);
    }
    for (const sequence of done) {
      if (sequence.handOver) sequence.handOver(this.scheduler.detach(sequence));
      else this.scheduler.remove(sequence);
      this.#listener.finished(sequence);
      sequence.progressed(sequence, true);
    }
  }

  #generate(sequence: Sequence, end: number): void {
    const first = sequence.generated === 0;
    sequence.answer ??= this.#writer.start(
      sequence.promptHash(),
      sequence.tokens[sequence.promptLength - 1] as number,
    );
    const last = sequence.generated === sequence.maxTokens - 1;
    sequence.tokens[sequence.length++] =
      last && sequence.endsTurn ? this.#writer.endOfTurn : this.#writer.next(sequence.answer);
    sequence.generated++;
    if (first) {
      sequence.firstTokenAt = end;
      this.#listener.firstToken(sequence, -this.#clock.realMsUntil(end));
    } else {
      this.#listener.nextToken(end - sequence.lastTokenAt);
    }
    sequence.lastTokenAt = end;
    if (last || sequence.generated < sequence.nextProgress) return;
    sequence.nextProgress = sequence.generated + sequence.progressInterval;
    sequence.progressed(sequence, false);
  }

  #arm(): void {
    const at = this.#nextEvent();
    if (at === Number.POSITIVE_INFINITY || this.#timerAt === Number.NEGATIVE_INFINITY) return;
    if (this.#timer) {
      if (this.#timerAt <= at) return;
      clearTimeout(this.#timer);
    }
    this.#timerAt = at;
    const wait = Math.min(Math.max(Math.round(this.#clock.realMsUntil(at)), 1), LONGEST_MS);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.advance();
    }, wait);
  }

  /** Simulated time at which something next happens that anyone can see. */
  #nextEvent(): number {
    const { running, waiting } = this.scheduler;
    if (this.#stepTokens === 0) {
      const first = waiting[0];
      if (first === undefined || this.#held) return Number.POSITIVE_INFINITY;
      return Math.max(this.#stepEnd, first.readyAt);
    }
    if (waiting.length > 0) return this.#stepEnd;
    let steps = Number.POSITIVE_INFINITY;
    for (let i = 0; i < running.length; i++) {
      const sequence = running[i] as Sequence;
      if (sequence.scheduled !== 1 || sequence.generated === 0) return this.#stepEnd;
      steps = Math.min(steps, Math.min(sequence.nextProgress, sequence.maxTokens) - sequence.generated);
    }
    const visible = this.#stepEnd + (steps - 1) * (this.#stepEnd - this.#stepStart);
    const quiet = this.#clock.now() + QUIET_MS * this.#clock.scale;
    return Math.max(this.#stepEnd, Math.min(visible, quiet));
  }
}
