// A strict mock of Envoy's proxy-wasm host. It runs the built release module, lets a test look at every effect, and
// fails on a host call that the test host does not offer. It re-enters the module where Envoy does.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { built } from "../../agent/package-root.js";

const encode = new TextEncoder();
const decode = new TextDecoder();

export const OK = 0;
export const NOT_FOUND = 1;
export const CONTINUE = 0;
export const STOP = 1;
/** The header that carries the choice. */
export const DESTINATION = "x-gateway-destination-endpoint";

type Exports = Record<string, (...args: number[]) => number> & { memory: WebAssembly.Memory };
export type Headers = [string, string][];

/** State that all VMs of one Envoy process share. */
export class Process {
  readonly metrics = new Map<string, { id: number; kind: number; value: bigint }>();
  readonly byId: { name: string; value: bigint }[] = [];
  readonly shared = new Map<string, { value: Uint8Array; cas: number }>();
  nowNs = 1_000_000_000n;

  /**
   * Requests under way and prefills among them, over all in-flight gauges or by the one that `ending` names: the first
   * in the lower 32 bits of each, the second in the upper ones.
   */
  underWay(ending?: string): { requests: bigint; prefills: bigint } {
    const sum = { requests: 0n, prefills: 0n };
    for (const [name, { value }] of this.metrics) {
      if (!name.startsWith("warmgate_inflight_counts")) continue;
      if (ending !== undefined && name !== `warmgate_inflight_counts${ending}`) continue;
      sum.requests += BigInt.asIntN(32, value);
      sum.prefills += BigInt.asIntN(64, value - BigInt.asIntN(32, value)) >> 32n;
    }
    return sum;
  }

  metric(name: string): bigint {
    return this.metrics.get(name)?.value ?? 0n;
  }
}

interface LocalReply {
  status: number;
  details: string;
  body: string;
  headers: Record<string, string>;
}

interface HostOptions {
  process?: Process;
  /** Beside a session key. */
  configuration?: object;
  /** 32 random bits: where the module's random bytes come from; the process's crypto when left out. */
  random?: () => number;
  /** Status that a named import returns instead of doing its work; for fault tests. */
  fault?: (name: string) => number | undefined;
}

/** A request that the filter sent by itself. */
export interface Call {
  token: number;
  cluster: string;
  headers: Headers;
  body: string;
  timeoutMs: number;
}

/** One request as Envoy drives it. */
export class Request {
  readonly responseHeaders: Headers = [];
  readonly properties = new Map<string, Uint8Array>();
  readonly filterState = new Map<string, string>();
  body = new Uint8Array();
  responseBody = new Uint8Array();
  reply: LocalReply | null = null;
  resumed = 0;

  constructor(
    readonly host: Host,
    readonly id: number,
    public headers: Headers,
  ) {}

  header(name: string): string | undefined {
    return this.headers.find(([k]) => k === name)?.[1];
  }

  response(name: string): string | undefined {
    return this.responseHeaders.find(([k]) => k === name)?.[1];
  }

  onHeaders(endOfStream = false): number {
    return this.host.call(this, "proxy_on_request_headers", this.headers.length, endOfStream ? 1 : 0);
  }

  /** Adds a chunk as Envoy does while the filter buffers: the callback sees the whole body so far. */
  onBody(chunk: Uint8Array | string, endOfStream: boolean): number {
    const bytes = typeof chunk === "string" ? encode.encode(chunk) : chunk;
    const body = new Uint8Array(this.body.length + bytes.length);
    body.set(this.body);
    body.set(bytes, this.body.length);
    this.body = body;
    return this.host.call(this, "proxy_on_request_body", body.length, endOfStream ? 1 : 0);
  }

  onTrailers(): number {
    return this.host.call(this, "proxy_on_request_trailers", 0);
  }

  /** `address`: the upstream that Envoy ended up with. */
  onResponse(address?: string, headers: Headers = [[":status", "200"]], endOfStream = false): number {
    if (address) this.properties.set("upstream\0address", encode.encode(address));
    this.responseHeaders.push(...headers);
    return this.host.call(
      this,
      "proxy_on_response_headers",
      this.responseHeaders.length,
      endOfStream ? 1 : 0,
    );
  }

  onResponseBody(size: number, endOfStream = false): number {
    return this.host.call(this, "proxy_on_response_body", size, endOfStream ? 1 : 0);
  }

  /** The whole answer in one frame. */
  onWholeResponse(body: string): number {
    this.responseBody = encode.encode(body);
    return this.onResponseBody(this.responseBody.length, true);
  }

  /** Done, as Envoy ends a stream after its access log; `flags`: bits of response.flags. */
  end(flags = 0n): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, flags, true);
    this.properties.set("response\0flags", bytes);
    this.host.call(this, "proxy_on_done");
  }
}

const SESSION_KEY = "0123456789abcdef".repeat(4);

/** Compiled once. */
let compiled: WebAssembly.Module | undefined;

/** One VM with its root context 1. */
export class Host {
  readonly process: Process;
  readonly logs: string[] = [];
  readonly sent: Uint8Array[] = [];
  readonly calls = new Map<string, number>();
  readonly #x: Exports;
  readonly #random: () => number;
  readonly #fault: (name: string) => number | undefined;
  readonly #requests = new Map<number, Request>();
  readonly #configuration: Uint8Array;
  #message: Uint8Array = new Uint8Array();
  #current: Request | null = null;
  #nextId = 2;
  tickMs = 0;
  /** Token of the open stream, 0 when closed; `refuseStream` makes the next open fail. */
  stream = 0;
  refuseStream = false;
  metadata: Headers = [];
  /** HTTP calls in the order they were sent. */
  readonly httpCalls: Call[] = [];
  #answer: { headers: Headers; body: Uint8Array } | null = null;

  constructor(options: HostOptions = {}) {
    this.process = options.process ?? new Process();
    this.#random = options.random ?? (() => randomBytes(4).readUInt32LE());
    this.#fault = options.fault ?? (() => undefined);
    const configuration = { sessionKey: SESSION_KEY, ...options.configuration };
    this.#configuration = encode.encode(JSON.stringify(configuration));
    compiled ??= new WebAssembly.Module(readFileSync(built("warmgate.wasm")));
    const env = this.#imports();
    for (const { module: from, name } of WebAssembly.Module.imports(compiled))
      if (!(from in env) || !(name in env[from as "env"]!))
        throw new Error(`the module imports ${from}.${name}`);
    this.#x = new WebAssembly.Instance(compiled, env).exports as unknown as Exports;
    this.#x["_initialize"]!();
    this.#x["proxy_on_vm_start"]!(1, 0);
    if (this.#x["proxy_on_configure"]!(1, this.#configuration.length) !== 1)
      throw new Error("configuration refused");
  }

  get memoryBytes(): number {
    return this.#x.memory.buffer.byteLength;
  }

  /** Lets `ms` pass, then ticks. */
  tick(ms = 5): void {
    this.process.nowNs += BigInt(Math.round(ms * 1e6));
    this.#current = null;
    this.#x["proxy_on_tick"]!(1);
    // The effective context ends with the callback.
    this.#current = null;
  }

  /** Opens the stream if needed and hands over frames as gRPC messages. */
  receive(frames: Uint8Array[]): void {
    if (!this.stream) this.tick(3000);
    for (const frame of frames) {
      const digits: number[] = [];
      let n = frame.length;
      do {
        digits.push((n & 127) | (n > 127 ? 128 : 0));
        n >>>= 7;
      } while (n);
      this.#message = Uint8Array.of(0x0a, ...digits);
      const whole = new Uint8Array(this.#message.length + frame.length);
      whole.set(this.#message);
      whole.set(frame, this.#message.length);
      this.receiveRaw(whole);
    }
  }

  receiveRaw(message: Uint8Array): void {
    this.#message = message;
    this.#x["proxy_on_grpc_receive"]!(1, this.stream, message.length);
  }

  /** Answers an HTTP call as Envoy does, on the root context; null headers: none came (a reset or the timeout). */
  answerCall(call: Call, status: number | null, body: string | Uint8Array = ""): void {
    const bytes = typeof body === "string" ? encode.encode(body) : body;
    const headers: Headers = status === null ? [] : [[":status", String(status)]];
    this.#answer = { headers, body: bytes };
    this.call(null, "proxy_on_http_call_response", call.token, headers.length, bytes.length, 0);
    this.#answer = null;
  }

  /** Forgets a stream, so that it can be no effective context any more. */
  forget(r: Request): void {
    this.#requests.delete(r.id);
  }

  /** Ends the VM as Envoy does after its last stream. */
  end(): void {
    this.#x["proxy_on_done"]!(1);
  }

  closeStream(status = 14): void {
    const token = this.stream;
    this.stream = 0;
    this.#x["proxy_on_grpc_close"]!(1, token, status);
  }

  request(headers: Headers): Request {
    const r = new Request(this, this.#nextId++, headers);
    this.#requests.set(r.id, r);
    return r;
  }

  /** A chat request from headers to decision. */
  chat(body: object | string, headers: Headers = []): Request {
    const r = this.request([[":method", "POST"], [":path", "/v1/chat/completions"], ...headers]);
    if (r.onHeaders() === STOP && !r.reply)
      r.onBody(typeof body === "string" ? body : JSON.stringify(body), true);
    return r;
  }

  call(r: Request | null, name: string, ...args: number[]): number {
    const before = this.#current;
    this.#current = r;
    try {
      return this.#x[name]!(r?.id ?? 1, ...args);
    } finally {
      this.#current = before;
    }
  }

  #bytes(p: number, n: number): Uint8Array {
    return new Uint8Array(this.#x.memory.buffer, p, n);
  }
  #text(p: number, n: number): string {
    return decode.decode(this.#bytes(p, n));
  }
  #u32(p: number, v: number): void {
    new DataView(this.#x.memory.buffer).setUint32(p, v, true);
  }
  #u64(p: number, v: bigint): void {
    new DataView(this.#x.memory.buffer).setBigUint64(p, v, true);
  }

  #give(value: Uint8Array, outAt: number, outSize: number): number {
    const p = this.#x["malloc"]!(value.length);
    if (p === 0) return 6;
    this.#bytes(p, value.length).set(value);
    this.#u32(outAt, p);
    this.#u32(outSize, value.length);
    return OK;
  }

  #map(kind: number): Headers {
    if (kind === 6) return this.#answer?.headers ?? [];
    if (!this.#current) return [];
    return kind === 0 ? this.#current.headers : this.#current.responseHeaders;
  }

  #imports() {
    const env: Record<string, (...args: never[]) => number> = {
      proxy_log: (_level: number, p: number, n: number) => {
        this.logs.push(this.#text(p, n));
        return OK;
      },
      proxy_set_tick_period_milliseconds: (ms: number) => {
        this.tickMs = ms;
        return OK;
      },
      proxy_get_header_map_pairs: (kind: number, outAt: number, outSize: number) => {
        const pairs = this.#map(kind).map(([k, v]) => [encode.encode(k), encode.encode(v)] as const);
        const size = 4 + pairs.reduce((n, [k, v]) => n + 8 + k.length + v.length + 2, 0);
        const out = new Uint8Array(size);
        const view = new DataView(out.buffer);
        view.setUint32(0, pairs.length, true);
        let at = 4 + pairs.length * 8;
        pairs.forEach(([k, v], i) => {
          view.setUint32(4 + i * 8, k.length, true);
          view.setUint32(8 + i * 8, v.length, true);
          out.set(k, at);
          out.set(v, at + k.length + 1);
          at += k.length + v.length + 2;
        });
        return this.#give(out, outAt, outSize);
      },
      proxy_get_header_map_value: (kind: number, k: number, kn: number, outAt: number, outSize: number) => {
        const name = this.#text(k, kn);
        const found = this.#map(kind).find(([h]) => h === name);
        return found ? this.#give(encode.encode(found[1]), outAt, outSize) : NOT_FOUND;
      },
      proxy_replace_header_map_value: (kind: number, k: number, kn: number, v: number, vn: number) => {
        const name = this.#text(k, kn);
        const map = this.#map(kind);
        const kept = map.filter(([h]) => h !== name);
        map.splice(0, map.length, ...kept, [name, this.#text(v, vn)]);
        return OK;
      },
      proxy_remove_header_map_value: (kind: number, k: number, kn: number) => {
        const name = this.#text(k, kn);
        const map = this.#map(kind);
        map.splice(0, map.length, ...map.filter(([h]) => h !== name));
        return OK;
      },
      proxy_get_buffer_bytes: (kind: number, start: number, n: number, outAt: number, outSize: number) => {
        const source =
          kind === 7
            ? this.#configuration
            : kind === 1
              ? this.#current?.responseBody
              : kind === 5
                ? this.#message
                : kind === 4
                  ? this.#answer?.body
                  : kind === 0
                    ? this.#current?.body
                    : undefined;
        if (!source) return NOT_FOUND;
        return this.#give(source.subarray(start, start + n), outAt, outSize);
      },
      proxy_set_buffer_bytes: (kind: number, start: number, n: number, p: number, size: number) => {
        const r = this.#current;
        if (kind !== 0 || !r) return NOT_FOUND;
        // Envoy replaces a whole buffer, prepends or appends; it edits nothing in the middle.
        if (start !== 0 || n < r.body.length) return 2;
        r.body = this.#bytes(p, size).slice();
        return OK;
      },
      proxy_set_property: (p: number, n: number, v: number, vn: number) => {
        this.#current?.filterState.set(this.#text(p, n), this.#text(v, vn));
        return OK;
      },
      proxy_http_call: ((...a: number[]) => {
        if (a.length !== 10) throw new Error("proxy_http_call takes ten arguments");
        const [c, cn, h, hn, b, bn, , , timeoutMs, out] = a as [number, number, number, number, ...number[]];
        const headers = this.#pairs(h, hn);
        for (const name of [":method", ":path", ":authority"])
          if (!headers.some(([k]) => k === name)) return 2;
        const token = this.httpCalls.length + 1;
        this.#u32(out!, token);
        this.httpCalls.push({
          token,
          cluster: this.#text(c, cn),
          headers,
          body: this.#text(b!, bn!),
          timeoutMs: timeoutMs!,
        });
        return OK;
      }) as never,
      proxy_get_property: (p: number, n: number, outAt: number, outSize: number) => {
        const value = this.#current?.properties.get(this.#text(p, n));
        return value ? this.#give(value, outAt, outSize) : NOT_FOUND;
      },
      proxy_send_local_response: ((...a: number[]) => {
        const [status, d, dn, b, bn, h, hn] = a as [number, number, number, number, number, number, number];
        const r = this.#current!;
        r.reply = {
          status,
          details: this.#text(d, dn),
          body: this.#text(b, bn),
          headers: Object.fromEntries(this.#pairs(h, hn)),
        };
        // Envoy runs the response callbacks of the same stream before the call returns.
        this.call(r, "proxy_on_response_headers", 1, 0);
        this.call(r, "proxy_on_response_body", bn, 1);
        return OK;
      }) as never,
      proxy_continue_stream: () => {
        this.#current!.resumed++;
        return OK;
      },
      proxy_set_effective_context: (id: number) => {
        const r = this.#requests.get(id);
        if (!r) return 2;
        this.#current = r;
        return OK;
      },
      proxy_get_shared_data: (k: number, kn: number, outAt: number, outSize: number, outCas: number) => {
        const entry = this.process.shared.get(this.#text(k, kn));
        if (!entry) return NOT_FOUND;
        this.#u32(outCas, entry.cas);
        return this.#give(entry.value, outAt, outSize);
      },
      proxy_set_shared_data: (k: number, kn: number, v: number, vn: number, cas: number) => {
        const key = this.#text(k, kn);
        const before = this.process.shared.get(key);
        if (before && cas !== 0 && before.cas !== cas) return 8;
        this.process.shared.set(key, { value: this.#bytes(v, vn).slice(), cas: (before?.cas ?? 0) + 1 });
        return OK;
      },
      proxy_define_metric: (kind: number, p: number, n: number, out: number) => {
        const name = this.#text(p, n);
        let metric = this.process.metrics.get(name);
        if (!metric) {
          metric = { id: this.process.byId.length, kind, value: 0n };
          this.process.metrics.set(name, metric);
          this.process.byId.push(metric as never);
        }
        this.#u32(out, metric.id);
        return OK;
      },
      proxy_increment_metric: ((id: number, by: bigint) => {
        const metric = this.process.byId[id];
        if (!metric) return 2;
        metric.value = BigInt.asUintN(64, metric.value + by);
        return OK;
      }) as never,
      proxy_record_metric: ((id: number, value: bigint) => {
        const metric = this.process.byId[id];
        if (!metric) return 2;
        metric.value = BigInt.asUintN(64, value);
        return OK;
      }) as never,
      proxy_get_metric: (id: number, out: number) => {
        const metric = this.process.byId[id];
        if (!metric) return NOT_FOUND;
        this.#u64(out, metric.value);
        return OK;
      },
      proxy_grpc_stream: ((...a: number[]) => {
        if (a.length !== 9) throw new Error("proxy_grpc_stream takes nine arguments");
        this.stream = 0;
        const token = (this.calls.get("proxy_grpc_stream") ?? 0) * 2 + 1;
        this.#u32(a[8]!, token);
        this.metadata = this.#pairs(a[6]!, a[7]!);
        if (this.refuseStream) {
          // Envoy opens lazily: the call succeeds and the close follows before it returns.
          this.#x["proxy_on_grpc_close"]!(1, token, 14);
          return OK;
        }
        this.stream = token;
        return OK;
      }) as never,
      proxy_grpc_send: (token: number, p: number, n: number) => {
        // Envoy looks for the stream in the context that is effective.
        if (token !== this.stream || token === 0 || this.#current) return 2;
        this.sent.push(this.#bytes(p, n).slice());
        return OK;
      },
    };
    const wasi: typeof env = {
      clock_time_get: ((_id: number, _precision: bigint, out: number) => {
        this.process.nowNs += 1000n;
        this.#u64(out, this.process.nowNs);
        return OK;
      }) as never,
      random_get: (p: number, n: number) => {
        const bytes = this.#bytes(p, n);
        for (let i = 0; i < n; i++) bytes[i] = this.#random();
        return OK;
      },
    };
    const guard = (table: typeof env) =>
      Object.fromEntries(
        Object.entries(table).map(([name, f]) => [
          name,
          (...args: never[]) => {
            this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
            return this.#fault(name) ?? f(...args);
          },
        ]),
      );
    return { env: guard(env), wasi_snapshot_preview1: guard(wasi) };
  }

  #pairs(p: number, n: number): Headers {
    if (n < 4) return [];
    const view = new DataView(this.#x.memory.buffer, p, n);
    const count = view.getUint32(0, true);
    const headers: Headers = [];
    let at = 4 + count * 8;
    for (let i = 0; i < count; i++) {
      const k = view.getUint32(4 + i * 8, true);
      const v = view.getUint32(8 + i * 8, true);
      headers.push([this.#text(p + at, k), this.#text(p + at + k + 1, v)]);
      at += k + v + 2;
    }
    return headers;
  }

  /** Frames that the filter sent up, without their gRPC message head. */
  frames(): Uint8Array[] {
    return this.sent.map((m) => {
      let at = 1;
      while (m[at]! & 128) at++;
      return m.subarray(at + 1);
    });
  }
}
