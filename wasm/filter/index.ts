// The exports that Envoy calls, nothing else. Every callback empties the arena on entry and finds its own stream; a
// context without a record (the root, or a request refused before the filter) is left alone.
import { allocate, enterArena, leaveArena } from "./abi/memory";
import { CONTINUE } from "./abi/types";
import { timingEnd, timingStart } from "./callback-timing";
import { now } from "./host";
import { prefillAnswered } from "./prefill-answered";
import { queueRelease } from "./queue";
import { onRequestBody, onRequestHeaders, onRequestTrailers } from "./request";
import { onResponseBody, onResponseHeaders, onStreamEnd } from "./response";
import { onConfigure, onRootDone, onTick } from "./root";
import { streamFind } from "./streams";
import { streamClosed, streamReceive } from "./table-stream";

let root: u32 = 0;

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

// @ts-ignore: decorator
@inline
function enter(): void {
  if (enterArena()) timingStart();
}

// @ts-ignore: decorator
@inline
function leave(): void {
  if (leaveArena()) timingEnd();
}

export function proxy_abi_version_0_2_1(): void {}

export function malloc(size: u32): usize {
  return allocate(size);
}

export function proxy_on_vm_start(context: u32, size: u32): u32 {
  return 1;
}

export function proxy_on_configure(context: u32, size: u32): u32 {
  root = context;
  enter();
  const ok = onConfigure(size);
  leave();
  return ok ? 1 : 0;
}

export function proxy_on_tick(context: u32): void {
  enter();
  onTick();
  leave();
}

export function proxy_on_request_headers(id: u32, count: u32, endOfStream: u32): u32 {
  enter();
  const action = onRequestHeaders(id, endOfStream != 0);
  leave();
  return action;
}

export function proxy_on_request_body(id: u32, size: u32, endOfStream: u32): u32 {
  const s = streamFind(id);
  if (!s) return CONTINUE;
  enter();
  const action = onRequestBody(s, size, endOfStream != 0);
  leave();
  return action;
}

export function proxy_on_request_trailers(id: u32, count: u32): u32 {
  const s = streamFind(id);
  if (!s) return CONTINUE;
  enter();
  const action = onRequestTrailers(s);
  leave();
  return action;
}

export function proxy_on_response_headers(id: u32, count: u32, endOfStream: u32): u32 {
  const s = streamFind(id);
  if (!s) return CONTINUE;
  enter();
  const action = onResponseHeaders(s, endOfStream != 0);
  leave();
  return action;
}

export function proxy_on_response_body(id: u32, size: u32, endOfStream: u32): u32 {
  const s = streamFind(id);
  if (!s) return CONTINUE;
  if (s.firstToken && !endOfStream && !s.holdResponse && !s.readsUsage) return CONTINUE;
  const first = !s.firstToken;
  enter();
  const action = onResponseBody(s, size, endOfStream != 0);
  if (first && s.firstToken) queueRelease();
  leave();
  return action;
}

/** The one end of every stream, after its access log; also the end of the root context. */
export function proxy_on_done(id: u32): u32 {
  const s = streamFind(id);
  enter();
  if (s) {
    // A connection that breaks ends all its streams: none of those that wait may get through in another one's end.
    const answered = s.responseDone;
    onStreamEnd(s);
    if (answered) queueRelease();
  } else if (id == root) onRootDone();
  leave();
  return 1;
}

export function proxy_on_http_call_response(
  context: u32,
  token: u32,
  headers: u32,
  bodySize: u32,
  trailers: u32,
): void {
  enter();
  prefillAnswered(token, headers, bodySize);
  leave();
}

export function proxy_on_grpc_receive(context: u32, token: u32, size: u32): void {
  enter();
  streamReceive(token, size, now());
  leave();
}

export function proxy_on_grpc_receive_initial_metadata(context: u32, token: u32, count: u32): void {}

export function proxy_on_grpc_receive_trailing_metadata(context: u32, token: u32, count: u32): void {}

export function proxy_on_grpc_close(context: u32, token: u32, status: u32): void {
  enter();
  streamClosed(token);
  leave();
}
