// Fuzzes the whole filter under the strict test host. Each seed is the life of one Envoy process with one or two workers:
// requests in all shapes, their callbacks interleaved at random and ended anywhere, an agent that comes and goes, and in
// two thirds of the lives a host whose calls fail now and then with any status of the ABI.

import { CONTINUE, DESTINATION, type Headers, Host, Process, type Request, STOP } from "../wasm/host.js";
import type { History } from "./agent-history.js";
import { ANSWER, FORGED, HostileTraffic, LONG_BODY, PATHS } from "./hostile-traffic.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

const REQUESTS = 500;
const MOST_LIVE = 40;

/** Imports whose failure must leave nothing behind. */
const FALLIBLE = [
  "proxy_log",
  "proxy_get_header_map_pairs",
  "proxy_get_header_map_value",
  "proxy_replace_header_map_value",
  "proxy_remove_header_map_value",
  "proxy_get_buffer_bytes",
  "proxy_get_property",
  "proxy_send_local_response",
  "proxy_continue_stream",
  "proxy_set_effective_context",
  "proxy_get_shared_data",
  "proxy_set_shared_data",
  "proxy_get_metric",
  "proxy_grpc_stream",
  "proxy_grpc_send",
  "random_get",
  "clock_time_get",
  "proxy_increment_metric",
  "proxy_record_metric",
  "proxy_define_metric",
];

/** Where a request stands as its client sees it. */
type Decision = "none" | "held" | "continued" | "replied";

interface Life {
  host: Host;
  request: Request;
  body: Uint8Array;
  sent: number;
  headersSent: boolean;
  bodyEnded: boolean;
  decision: Decision;
  /** Held because it is to be refused and the host would not. */
  refusing: boolean;
  answered: boolean;
  held: boolean;
  answerLeft: number;
  resumed: number;
}

export class FilterTarget implements Target {
  readonly name = "filter";
  readonly #random = new Random();
  readonly #traffic: HostileTraffic;
  #seed = 0;
  #last = "";
  #process = new Process();
  #hosts: Host[] = [];
  #lives: Life[] = [];
  #decided = 0;
  #failing = new Set<string>();
  #rate = 0;
  #faultsOn = false;
  /** Imports that failed since the current callback began. */
  #failed: string[] = [];
  #next: number[] = [];

  constructor(readonly history: History) {
    this.#traffic = new HostileTraffic(this.#random, history.probes);
  }

  run(seed: number): number {
    this.#seed = seed;
    this.#random.seed(seed);
    return this.#life();
  }

  #fault(what: string, life?: Life): never {
    const request = life
      ? ` request ${JSON.stringify(life.request.headers).slice(0, 600)} body ${printable(life.body, 600)}`
      : "";
    throw new Fault(
      this.name,
      this.#seed,
      what,
      `${this.#last}${request} (${this.#hosts.length} workers, calls that fail: ${[...this.#failing].join(", ") || "none"}, one in ${this.#rate})`,
    );
  }

  #life(): number {
    const r = this.#random;
    this.#faultsOn = false;
    this.#process = new Process();
    this.#lives = [];
    this.#decided = 0;
    this.#failing.clear();
    this.#rate = r.oneIn(3) ? 0 : [400, 60, 12][r.below(3)]!;
    if (this.#rate) for (const name of FALLIBLE) if (r.oneIn(2)) this.#failing.add(name);
    const options = {
      random: () => r.word(),
      process: this.#process,
      configuration: {
        debugHeaders: r.oneIn(2) ? "all" : "none",
        mode: r.oneIn(12) ? "headers" : "body",
        tableMiB: 8,
        bodyLimitBytes: 60_000,
        timeCallbacks: r.oneIn(8),
        ...(r.oneIn(3) ? { token: "secret" } : {}),
      },
      fault: (name: string) => {
        if (!this.#faultsOn || !this.#failing.has(name) || !r.oneIn(this.#rate)) return undefined;
        this.#failed.push(name);
        return 1 + r.below(12);
      },
    };
    this.#hosts = Array.from({ length: 1 + r.below(2) }, () => new Host(options));
    this.#next = this.#hosts.map(() => -1);
    const warm = this.#warmUp();
    this.#faultsOn = true;
    let opened = 0;
    while (opened < REQUESTS || this.#lives.length) {
      if (opened === REQUESTS && this.#faultsOn) this.#heal();
      const what = r.below(16);
      if (what === 0) this.#tick(r.oneIn(8) ? r.below(3000) : r.below(300));
      else if (what === 1 && r.oneIn(4)) this.#agent();
      else if (
        opened < REQUESTS &&
        (this.#lives.length === 0 || (what < 6 && this.#lives.length < MOST_LIVE))
      ) {
        this.#open();
        opened++;
      } else if (this.#lives.length) this.#advance(this.#lives[r.below(this.#lives.length)]!);
    }
    // Long enough for workers that were thought lost to be counted anew.
    for (let i = 0; i < 20; i++) this.#pass(1100);
    this.#hosts.forEach((host, i) => {
      if (host.memoryBytes !== warm[i])
        this.#fault(`memory grew from ${warm[i]} to ${host.memoryBytes} bytes`);
    });
    this.#gauges();
    if (!this.#rate) this.#counters();
    return opened;
  }

  /** The host fails no more: what it refused to do is done by the next ticks. */
  #heal(): void {
    this.#faultsOn = false;
    for (let i = 0; i < 3; i++) this.#tick(300);
    for (const life of this.#lives)
      if (life.decision === "held" && life.refusing)
        this.#fault("never answered what it had to refuse", life);
  }

  /** Everything that a worker takes memory for, once: a table in both regions, streams, a long read. */
  #warmUp(): number[] {
    const { snapshots } = this.history;
    return this.#hosts.map((host) => {
      host.receive(snapshots[0]!.frames);
      host.receive(snapshots[1]!.frames);
      const open = Array.from({ length: 3 }, () =>
        host.request([
          [":method", "POST"],
          [":path", PATHS[0]!],
        ]),
      );
      for (const request of open) request.onHeaders();
      for (const request of open) request.onBody(LONG_BODY, true);
      this.#decided += 3;
      for (const request of open) request.end();
      host.tick();
      if (this.#random.oneIn(4)) host.closeStream();
      return host.memoryBytes;
    });
  }

  #gauges(): void {
    for (const [name, metric] of this.#process.metrics) {
      const value = BigInt.asIntN(64, metric.value);
      if (name.startsWith("warmgate_inflight_") && value !== 0n)
        this.#fault(`${name} is ${value} when nothing is under way`);
    }
  }

  /** Every decision was counted once, whatever it was. */
  #counters(): void {
    const names = ["decisions_success", "decisions_no_pods", "decisions_filtered_out", "fallback", "refused"];
    const counted = names.reduce((n, name) => n + Number(this.#process.metric(`warmgate_${name}_total`)), 0);
    if (counted !== this.#decided) this.#fault(`${counted} decisions counted instead of ${this.#decided}`);
  }

  /** Runs host code; a trap is a fault. */
  #do<T>(what: string, life: Life | undefined, body: () => T): T {
    this.#last = what;
    this.#failed = [];
    try {
      return body();
    } catch (e) {
      this.#last += ` (host calls that failed: ${this.#failed.join(", ") || "none"})`;
      this.#fault(`trap: ${e}`, life);
    }
  }

  #tick(ms: number): void {
    this.#pass(ms);
    for (const life of this.#lives) {
      const { resumed, reply } = life.request;
      if (reply && life.decision === "held") this.#decide(life, "replied");
      if (resumed === life.resumed) continue;
      if (life.decision !== "held" || resumed > life.resumed + 1)
        this.#fault(`resumed a request that was ${life.decision}`, life);
      life.resumed = resumed;
      this.#decide(life, "continued");
    }
  }

  /** Lets time pass for all workers: Envoy's tick each 5 ms, so none is ever far behind the others. */
  #pass(ms: number): void {
    this.#do("a tick", undefined, () => {
      this.#hosts.forEach((host, i) => {
        host.tick(i ? 0 : ms);
        host.logs.length = 0;
        host.sent.length = 0;
      });
    });
  }

  #agent(): void {
    const r = this.#random;
    const i = r.below(this.#hosts.length);
    const host = this.#hosts[i]!;
    const { history } = this;
    switch (r.below(6)) {
      case 0:
        this.#do("the stream's close", undefined, () => host.closeStream());
        break;
      case 1:
        host.refuseStream = r.oneIn(2);
        break;
      case 2: {
        const junk = Uint8Array.from({ length: r.below(60) }, () => r.word());
        if (host.stream) this.#do("a junk message", undefined, () => host.receiveRaw(junk));
        break;
      }
      case 3: {
        const snapshot = r.pick(history.snapshots.slice(0, 2));
        if (!host.stream) this.#tick(3000);
        if (!host.stream) break;
        this.#do("a snapshot", undefined, () => host.receive(snapshot.frames));
        this.#next[i] = snapshot.sequence - history.firstSequence + 1;
        break;
      }
      default:
        if (!host.stream || this.#next[i]! < 0 || this.#next[i]! >= history.frames.length) break;
        this.#do("a frame", undefined, () => host.receive([history.frames[this.#next[i]!]!]));
        this.#next[i]!++;
    }
    host.sent.length = 0;
  }

  #open(): void {
    const host = this.#random.pick(this.#hosts);
    const body = this.#traffic.body();
    const headers = this.#traffic.headers(body.length);
    this.#lives.push({
      host,
      request: this.#do("a new context", undefined, () => host.request(headers)),
      body,
      sent: 0,
      headersSent: false,
      bodyEnded: false,
      decision: "none",
      refusing: false,
      answered: false,
      held: false,
      answerLeft: 0,
      resumed: 0,
    });
  }

  #decide(life: Life, decision: Decision): void {
    if (life.decision === "continued" || life.decision === "replied")
      this.#fault(`${decision} after it was ${life.decision}`, life);
    life.decision = decision;
    if (decision === "continued" || decision === "replied") this.#decided++;
  }

  /** What a request callback's result and effects say, held against what may be. */
  #outcome(life: Life, before: { reply: unknown; resumed: number }, action: number, ended: boolean): void {
    const { request } = life;
    if (request.resumed !== before.resumed) this.#fault("resumed from its own callback", life);
    const replied = request.reply !== before.reply;
    if (life.decision === "continued" || life.decision === "replied") {
      // A host that would not send a 413 at first is asked again when more of the body comes.
      if (replied && life.decision === "continued" && request.reply!.status === 413) {
        if (action !== STOP) this.#fault("went on after a local reply", life);
        if (!this.#rate) this.#fault("was over the limit and went on", life);
        life.decision = "replied";
        return;
      }
      if (replied) this.#fault(`answered after it was ${life.decision}`, life);
      if (life.decision === "continued" && action !== CONTINUE)
        this.#fault("stopped after it was continued", life);
      return;
    }
    if (replied) {
      if (action !== STOP) this.#fault("went on after a local reply", life);
      this.#decide(life, "replied");
    } else if (action === CONTINUE) this.#decide(life, "continued");
    else if (action !== STOP) this.#fault(`action ${action}`, life);
    else {
      life.decision = "held";
      // A refusal that the host would not send is tried again from the tick.
      if (this.#failed.includes("proxy_send_local_response")) life.refusing = true;
      if (ended && !life.refusing) this.#fault("neither continued nor answered at the end of its body", life);
    }
  }

  #advance(life: Life): void {
    const r = this.#random;
    // After its answer, and after a local reply, a request has no callbacks of its own any more.
    const over = life.decision === "replied" || life.answered;
    if (r.oneIn(24)) this.#end(life);
    else if (!life.headersSent) this.#headers(life);
    else if (!life.bodyEnded && (!over || r.oneIn(20)) && !r.oneIn(16)) this.#chunk(life);
    else if (life.decision === "replied" || (life.answered && life.answerLeft === 0)) this.#end(life);
    else if (life.decision !== "held" || r.oneIn(8)) this.#answer(life);
  }

  #headers(life: Life): void {
    const r = this.#random;
    const { request } = life;
    life.headersSent = true;
    life.bodyEnded = life.body.length === 0 ? r.oneIn(2) : r.oneIn(40);
    const before = { reply: request.reply, resumed: request.resumed };
    const action = this.#do("request headers", life, () => request.onHeaders(life.bodyEnded));
    if (request.header(DESTINATION)?.startsWith(FORGED) && !this.#failed.length)
      this.#fault("left a forged destination", life);
    this.#outcome(life, before, action, life.bodyEnded);
  }

  #chunk(life: Life): void {
    const r = this.#random;
    const { request } = life;
    const left = life.body.length - life.sent;
    const n = r.oneIn(2) ? left : r.below(left + 1);
    const end = n === left && !r.oneIn(6);
    const chunk = life.body.subarray(life.sent, life.sent + n);
    life.sent += n;
    life.bodyEnded = end;
    const before = { reply: request.reply, resumed: request.resumed };
    const action = this.#do("a request body", life, () => request.onBody(chunk, end));
    this.#outcome(life, before, action, end);
    if (end || n < left || r.oneIn(2)) return;
    life.bodyEnded = true;
    const again = { reply: request.reply, resumed: request.resumed };
    const then = this.#do("request trailers", life, () => request.onTrailers());
    this.#outcome(life, again, then, true);
  }

  #answer(life: Life): void {
    const r = this.#random;
    const { request } = life;
    if (!life.answered) {
      life.answered = true;
      const chosen = request.header(DESTINATION)?.split(",") ?? [];
      const address = r.oneIn(6)
        ? undefined
        : r.oneIn(5)
          ? "10.9.9.9:1"
          : (chosen[r.below(3)] ?? "10.0.0.1:8000");
      const json = r.oneIn(2);
      const headers: Headers = [[":status", r.oneIn(8) ? "503" : "200"]];
      headers.push(["content-type", json ? "application/json; charset=utf-8" : "text/event-stream"]);
      if (json) headers.push(["content-length", r.oneIn(8) ? "99999999" : String(ANSWER.length)]);
      const end = r.oneIn(10);
      life.answerLeft = end ? 0 : 1 + r.below(4);
      const action = this.#do("response headers", life, () => request.onResponse(address, headers, end));
      if (action === STOP && end) this.#fault("held a response that has no body", life);
      life.held = action === STOP;
      return;
    }
    life.answerLeft--;
    const end = life.answerLeft === 0;
    request.responseBody = ANSWER;
    const size = r.oneIn(10) ? 0 : ANSWER.length;
    const action = this.#do("a response body", life, () => request.onResponseBody(size, end));
    if (action === STOP && (!life.held || end)) this.#fault("stopped a response that must go on", life);
    if (action === CONTINUE) life.held = false;
  }

  #end(life: Life): void {
    const r = this.#random;
    this.#lives.splice(this.#lives.indexOf(life), 1);
    this.#do("the end", life, () => life.request.end(r.oneIn(2) ? 0n : 1n << BigInt(r.below(28))));
    // Envoy ends a stream once; a second end must be as if it were not.
    if (r.oneIn(8)) this.#do("a second end", life, () => life.request.end());
    life.host.logs.length = 0;
  }
}
