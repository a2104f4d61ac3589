// Answers of the filter itself: OpenAI-shaped errors, made once at start.
import { Text, text } from "./abi/memory";
import { sendLocal } from "./host";

export class Reply {
  constructor(
    public status: u32,
    public details: Text,
    public body: Text,
    public headers: Text,
  ) {}
}

/** `dropped`: why overload dropped the request, told as llm-d's router tells it. */
function reply(status: u32, code: string, type: string, message: string, dropped: string = ""): Reply {
  return new Reply(
    status,
    text("warmgate_" + code),
    text('{"error":{"message":"' + message + '","type":"' + type + '","param":null,"code":"' + code + '"}}'),
    headersOf(dropped),
  );
}

/** Seconds until a client that was turned away for overload may come again. */
const RETRY_AFTER = "1";

/** Headers of an answer as the ABI wants them: count, sizes of names and values, then each with a final zero. */
function headersOf(dropped: string): Text {
  const pairs: StaticArray<string> = dropped.length
    ? ["content-type", "application/json", "retry-after", RETRY_AFTER, "x-llm-d-request-dropped-reason", dropped]
    : ["content-type", "application/json"];
  const p = heap.alloc(512);
  store<u32>(p, pairs.length >> 1);
  let at = p + 4 + (<usize>pairs.length << 2);
  for (let i = 0; i < pairs.length; i++) {
    const t = text(pairs[i]);
    store<u32>(p + 4 + (<usize>i << 2), <u32>t.size);
    memory.copy(at, t.at, t.size);
    store<u8>(at + t.size, 0);
    at += t.size + 1;
  }
  const whole = changetype<Text>(heap.alloc(offsetof<Text>()));
  whole.at = p;
  whole.size = at - p;
  return whole;
}

const INVALID = "invalid_request_error";
export const MALFORMED = reply(400, "malformed_json", INVALID, "The request body is not valid JSON.");
export const NOT_AN_OBJECT = reply(400, "not_an_object", INVALID, "The request body must be a JSON object.");
export const TOO_DEEP = reply(400, "nesting_too_deep", INVALID, "The request body is nested more than 1000 levels deep.");
export const EMPTY_BODY = reply(400, "empty_body", INVALID, "The request has no body; send a JSON object.");
export const MODEL_MISSING = reply(400, "model_missing", INVALID, "The field model is missing.");
export const MODEL_TYPE = reply(400, "model_type", INVALID, "The field model must be a string.");
export const MODEL_UNKNOWN = reply(404, "model_not_found", INVALID, "No pod serves this model; GET /v1/models lists those that are served.");
export const RESERVED = reply(
  400,
  "reserved_field",
  INVALID,
  "The body has a field that only the router may set (kv_transfer_params, ec_transfer_params, bootstrap_host, bootstrap_port, bootstrap_room or cache_hit_threshold); remove it.",
);
export const TOO_LARGE = reply(413, "body_too_large", INVALID, "The request body is larger than this gateway accepts.");

const OVERLOADED = "overloaded_error";
export const SATURATED = reply(
  429,
  "saturated",
  OVERLOADED,
  "All pods are busy; try again, or ask with a higher priority.",
  "rejected-saturated",
);
export const EVICTED = reply(
  429,
  "evicted",
  OVERLOADED,
  "The queue is full and others come first; try again.",
  "evicted-queue-pressure",
);
export const TTL_EXPIRED = reply(
  429,
  "queue_timeout",
  OVERLOADED,
  "No pod had room in time; try again.",
  "rejected-ttl-expired",
);
export const NO_ENDPOINTS = reply(
  503,
  "no_pods",
  OVERLOADED,
  "No pod serves this request at present; try again.",
  "rejected-no-endpoints",
);
export const NOT_IN_SUBSET = reply(
  503,
  "subset_empty",
  OVERLOADED,
  "None of the pods that this request is restricted to is ready.",
  "rejected-no-endpoints",
);
export const NOT_CACHED = reply(
  412,
  "prefix_not_cached",
  INVALID,
  "No part of the prompt is cached on the pod that it would go to (Prefer: if-available).",
);
export const OVERRIDE_DENIED = reply(
  403,
  "model_override_not_allowed",
  INVALID,
  "The policy does not allow this model in x-model-override.",
);
export const TOO_LARGE_TO_EDIT = reply(
  413,
  "body_too_large_to_rewrite",
  INVALID,
  "The body is too large to change its model or its cache salt (limits.bodyReadBytes of the policy).",
);
export const BODY_NOT_WRITTEN = reply(
  500,
  "body_not_written",
  "server_error",
  "The gateway could not change the model or the cache salt in the body.",
);
export const SALT_TWICE = reply(400, "cache_salt_twice", INVALID, "The body has cache_salt more than once; send one.");
export const NOT_ISOLATED = reply(
  503,
  "not_isolated",
  "server_error",
  "The gateway cannot read this body now, so it cannot give the request a cache of its own; try again.",
);
const FAILED = "api_error";
export const PREFILL_FAILED = reply(502, "prefill_failed", FAILED, "No prefill pod gave a usable answer; try again.");
export const PREFILL_TIMEOUT = reply(504, "prefill_timeout", FAILED, "No prefill pod answered in time; try again.");


/** Answers the request of the current context; returns the host's status. */
export function answer(r: Reply): u32 {
  return sendLocal(r.status, r.details, r.body.at, r.body.size, r.headers.at, r.headers.size);
}
