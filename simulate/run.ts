// One run: a load through gateways and pods, event by event, at full speed.
import { ConfigError } from "../agent/errors.js";
import type { Engine } from "./engine.js";
import { EventQueue } from "./event-queue.js";
import { SimPod } from "./pod.js";
import { framesOf, type SimPolicy } from "./policies.js";
import { seededRandom } from "./random.js";
import type { Load, SimRequest } from "./request.js";
import { type Dispatch, Router } from "./router.js";

interface RunOptions {
  engine: Engine;
  pods: number;
  /** Gateways; each request meets one of them at random. */
  replicas: number;
  /** Seconds until another gateway knows of a count; Infinity: never. */
  sync: number;
  /** Whether gateways find that too slow, so that token-aware stands in for warm-until-busy. */
  sharingSlow?: boolean;
  /** Seconds between two readings of the pods' metrics. */
  scrape: number;
  seed: number;
  /** Called now and then with the number of requests that are done. */
  progress?: (done: number) => void;
}

/** What became of a request. Times are seconds. */
export interface Outcome {
  request: SimRequest;
  /** From the start. */
  arrival: number;
  /** -1 when no pod passed the policy's filters. */
  pod: number;
  /** From arrival. */
  firstToken: number;
  end: number;
  /** Tokens of the prompt that were in the pod's cache, and that the gateway took for cached. */
  cached: number;
  predicted: number;
}

export interface RunResult {
  policy: string;
  outcomes: Outcome[];
  pods: { prefilledTokens: number; preemptions: number }[];
  /** Seconds from the first arrival to the last token. */
  seconds: number;
}

interface Flight extends Outcome {
  replica: number;
  dispatch: Dispatch;
}

/** Requests between two calls of `progress`. */
const PROGRESS_EVERY = 500;

/** @throws ConfigError when a request is longer than a pod's cache. */
export async function run(load: Load, policy: SimPolicy, options: RunOptions): Promise<RunResult> {
  const { engine, replicas, sync } = options;
  checkLengths(load, engine);
  const queue = new EventQueue();
  const outcomes: Outcome[] = [];
  const all = load.stages.reduce((n, stage) => n + stage.length, 0);
  let now = 0;
  let done = 0;

  /** Tells the gateway that counted something at once, the others after the delay. */
  const count = (replica: number, change: (router: Router, at: number) => void) => {
    change(routers[replica]!, now);
    if (replicas === 1 || sync === Number.POSITIVE_INFINITY) return;
    const others = () => {
      for (let i = 0; i < replicas; i++) if (i !== replica) change(routers[i]!, now);
    };
    if (sync === 0) others();
    else queue.add(now + sync, others);
  };

  const pods = Array.from(
    { length: options.pods },
    () =>
      new SimPod<Flight>(engine, load.blockTokens, {
        admitted(flight, cachedTokens) {
          flight.cached = cachedTokens;
        },
        firstToken(flight) {
          flight.firstToken = now - flight.arrival;
          count(flight.replica, (router, at) => router.firstToken(flight.dispatch, at));
          routers[flight.replica]!.calibrate(flight.dispatch, now);
        },
        done(flight) {
          flight.end = now - flight.arrival;
          count(flight.replica, (router, at) => router.done(flight.dispatch, at));
          done++;
          if (done % PROGRESS_EVERY === 0) options.progress?.(done);
        },
      }),
  );
  const busy = pods.map(() => false);
  const caches = pods.map((pod) => pod.cache);
  const frames = await framesOf(policy, engine, options.pods, load.blockTokens);
  const routers: Router[] = [];
  for (let i = 0; i < replicas; i++)
    routers.push(
      await Router.create(frames, caches, load.blockTokens, seededRandom(options.seed + 7919 * i)),
    );

  for (const router of routers) router.picker.sharing(options.sharingSlow ?? false);

  const step = (at: number) => {
    const seconds = pods[at]!.begin();
    busy[at] = seconds > 0;
    if (seconds === 0) return;
    queue.add(now + seconds, () => {
      pods[at]!.end(now);
      step(at);
    });
  };

  const choice = seededRandom(options.seed);
  const arrive = (request: SimRequest) => {
    const replica = choice.below(replicas);
    const dispatch = routers[replica]!.dispatch(request, now);
    const outcome = {
      request,
      arrival: now,
      pod: dispatch?.pod ?? -1,
      firstToken: 0,
      end: 0,
      cached: 0,
      predicted: 0,
    };
    if (!dispatch) {
      outcomes.push(outcome);
      done++;
      return;
    }
    const flight: Flight = { ...outcome, predicted: dispatch.predicted, replica, dispatch };
    outcomes.push(flight);
    if (replicas > 1 && sync !== Number.POSITIVE_INFINITY) {
      const others = () => {
        for (let i = 0; i < replicas; i++) if (i !== replica) routers[i]!.dispatched(dispatch, now);
      };
      if (sync === 0) others();
      else queue.add(now + sync, others);
    }
    queue.add(now + engine.frontEnd, () => {
      pods[dispatch.pod]!.enqueue(request, flight);
      if (!busy[dispatch.pod]) step(dispatch.pod);
    });
  };

  const scrape = () => {
    pods.forEach((pod, i) => {
      for (const router of routers) router.scraped(i, pod.waiting, pod.running, pod.cache.usage, now);
    });
    if (done < all) queue.add(now + options.scrape, scrape);
  };
  queue.add(0, scrape);

  let ended = 0;
  let start = 0;
  for (const stage of load.stages) {
    let next = 0;
    while (done < ended + stage.length) {
      const request = stage[next];
      if (request && start + request.arrival <= queue.next) {
        now = start + request.arrival;
        next++;
        arrive(request);
      } else {
        now = queue.next;
        queue.run();
      }
    }
    ended = done;
    start = now + load.pause;
  }
  return {
    policy: policy.name,
    outcomes,
    pods: pods.map(({ prefilledTokens, preemptions }) => ({ prefilledTokens, preemptions })),
    seconds: outcomes.reduce((last, o) => Math.max(last, o.arrival + o.end), 0),
  };
}

function checkLengths({ stages, blockTokens }: Load, engine: Engine): void {
  const requests = stages.flat();
  const room = Math.floor(engine.capacity / blockTokens) * blockTokens;
  const at = requests.findIndex(({ prompt, output }) => prompt + output > room);
  if (at < 0) return;
  const { prompt, output } = requests[at]!;
  throw new ConfigError(
    `request ${at + 1} has ${prompt} + ${output} tokens, a pod of --engine ${engine.name} holds ${room}; choose another engine or cut the trace`,
  );
}
