// Answers of the filter itself: OpenAI-shaped errors, made once at start.
import { Text, text } from "./abi/memory";
import { sendLocal } from "./host";

export class Reply {
  constructor(
    public status: u32,
    public details: Text,
    public body: Text,
  ) {}
}

function reply(status: u32, code: string, type: string, message: string): Reply {
  return new Reply(
    status,
    text("warmgate_" + code),
    text('{"error":{"message":"' + message + '","type":"' + type + '","param":null,"code":"' + code + '"}}'),
  );
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

const TYPE_NAME = text("content-type");
const TYPE_VALUE = text("application/json");
const headers: usize = heap.alloc(64);
const headersSize: usize = 4 + 8 + TYPE_NAME.size + 1 + TYPE_VALUE.size + 1;
store<u32>(headers, 1);
store<u32>(headers, <u32>TYPE_NAME.size, 4);
store<u32>(headers, <u32>TYPE_VALUE.size, 8);
memory.copy(headers + 12, TYPE_NAME.at, TYPE_NAME.size);
store<u8>(headers + 12 + TYPE_NAME.size, 0);
memory.copy(headers + 13 + TYPE_NAME.size, TYPE_VALUE.at, TYPE_VALUE.size);
store<u8>(headers + 13 + TYPE_NAME.size + TYPE_VALUE.size, 0);

/** Answers the request of the current context; returns the host's status. */
export function answer(r: Reply): u32 {
  return sendLocal(r.status, r.details, r.body.at, r.body.size, headers, headersSize);
}
