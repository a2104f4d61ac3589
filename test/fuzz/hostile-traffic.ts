// Requests as clients send them, well and badly: headers and bodies for the filter's fuzz target.
import { DESTINATION, type Headers } from "../wasm/host.js";
import { chatml } from "../wasm/table.js";
import type { Probe } from "./agent-history.js";
import { BodyWriter } from "./body-writer.js";
import type { Random } from "./random.js";

const encode = new TextEncoder();

/** What a client would like its request to go to. */
export const FORGED = "6.6.6.6:1";
export const PATHS = [
  "/v1/chat/completions",
  "/v1/chat/completions",
  "/v1/chat/completions?x=1",
  "/v1/completions",
  "/v1/responses",
  "/v1/embeddings",
  "/v1/%63hat/completions",
  "/v1/models",
  "/",
  "",
];
const BODIES = [
  "",
  "{}",
  "[]",
  "nul",
  '{"model":5,"messages":[]}',
  '{"model":"no such model","messages":[]}',
  '{"model":"m","messages":[{"role":"user","content":"x"}],"bootstrap_host":"a"}',
  '{"model":"m","prompt":"a plain prompt","stream":true}',
  '{"model":"bare","input":"text","user":"someone"}',
  '{"model":"alias","messages":[{"role":"user","content":"hello"}],"prompt_cache_key":"k"}',
  "[".repeat(2000),
  `{"model":"m","messages":[{"role":"user","content":"${"long text ".repeat(9000)}"}]}`,
].map((b) => encode.encode(b));

/** A JSON answer with its usage. */
export const ANSWER = encode.encode(
  '{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":12,"total_tokens":17}}',
);
/** The longest body. */
export const LONG_BODY = BODIES.at(-1)!;

export class HostileTraffic {
  readonly #random: Random;
  readonly #writer: BodyWriter;

  constructor(
    random: Random,
    readonly probes: readonly Probe[],
  ) {
    this.#random = random;
    this.#writer = new BodyWriter(random, chatml);
  }

  /** Headers of a request whose body has `bodyBytes` bytes. */
  headers(bodyBytes: number): Headers {
    const r = this.#random;
    const headers: Headers = [
      [":method", r.oneIn(8) ? "GET" : "POST"],
      [":path", r.oneIn(3) ? r.pick(PATHS) : PATHS[0]!],
    ];
    if (r.oneIn(2)) headers.push(["authorization", `Bearer ${r.below(5)}`]);
    if (r.oneIn(3)) headers.push(["x-request-id", "r".repeat(r.below(80))]);
    if (r.oneIn(3))
      headers.push(["traceparent", `00-${"a".repeat(32)}-${"b".repeat(16)}-01`.slice(0, r.below(60))]);
    if (r.oneIn(3)) headers.push(["x-session-id", r.oneIn(2) ? `s${r.below(9)}` : "not valid!"]);
    if (r.oneIn(4)) headers.push(["cookie", `a=b; session_id=${r.below(9)}; c`]);
    if (r.oneIn(4)) headers.push(["content-length", r.oneIn(4) ? String(r.word()) : String(bodyBytes)]);
    if (r.oneIn(6)) headers.push([DESTINATION, FORGED], ["x-prefiller-host-port", "6.6.6.6:2"]);
    if (r.oneIn(40)) for (let i = 0; i < 300; i++) headers.push([`x-header-${i}`, "v".repeat(r.below(60))]);
    return headers;
  }

  /** A body, right, wrong or noise. */
  body(): Uint8Array {
    const r = this.#random;
    const kind = r.below(8);
    if (kind < 2) return r.pick(BODIES);
    if (kind < 5) return encode.encode(r.pick(this.probes).body);
    if (kind === 5) {
      const noise = new Uint8Array(r.below(200));
      r.fill(noise);
      return noise;
    }
    this.#writer.write(0, chatml);
    const body = this.#writer.body.slice(0, this.#writer.size);
    if (kind === 7 && body.length) body[r.below(body.length)] = r.word();
    return body;
  }
}
