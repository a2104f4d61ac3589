// Reads the bodies of /v1/chat/completions and /v1/completions.
import { BEGIN_OF_TEXT, type ChatMessage, renderChat } from "./chat-template.js";
import { badRequest, unknownModel } from "./http-errors.js";
import { readTransfer, type TransferRequest } from "./kv-transfer.js";

/** Tokens generated when a request does not say. */
const DEFAULT_MAX_TOKENS = 16;

/** What a body asks for, whichever of the two APIs it came by. */
export interface GenerationRequest {
  api: "chat" | "completion";
  /** Rendered texts, or token ids as given. */
  prompts: (string | Uint32Array)[];
  /** Answers per prompt. */
  answers: number;
  maxTokens: number;
  /** Close each answer with the end-of-turn token. */
  endsTurn: boolean;
  stream: boolean;
  /** Close a stream with the usage. */
  includeUsage: boolean;
  salt: string;
  returnTokenIds: boolean;
  transfer: TransferRequest;
}

/** A JSON object. */
export type Fields = Record<string, unknown>;

function asFields(value: unknown, param: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw badRequest(`${param} must be an object`, param);
  return value as Fields;
}

function count(fields: Fields, name: string, fallback: number): number {
  const value = fields[name] ?? fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1)
    throw badRequest(`${name} must be an integer of at least 1, got ${JSON.stringify(value)}`, name);
  return value;
}

/** @throws ApiError 404 when the body names another model. */
export function checkModel(fields: Fields, served: string): void {
  const asked = fields.model ?? served;
  if (asked !== served) throw unknownModel(String(asked), served);
}

/** Text parts join with a line break and empty ones drop out, as vLLM's "string" content format does. */
function contentText(content: unknown, param: string): string {
  if (content === undefined || content === null) return "";
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw badRequest(`${param} must be a string or a list of parts`, param);
  const texts: string[] = [];
  for (const part of content) {
    const text = typeof part === "string" ? part : partText(asFields(part, param), param);
    if (text !== "") texts.push(text);
  }
  return texts.join("\n");
}

function partText(part: Fields, param: string): string {
  const kind = part.type;
  if (
    kind !== undefined &&
    kind !== "text" &&
    kind !== "input_text" &&
    kind !== "output_text" &&
    kind !== "refusal"
  )
    throw badRequest(`${String(kind)} parts need a multimodal model; this one takes text`, param);
  const text = kind === "refusal" ? part.refusal : part.text;
  if (typeof text !== "string") throw badRequest(`${param} has a part without text`, param);
  return text;
}

/** Messages with their content as one text. @throws ApiError 400. */
export function readMessages(value: unknown): ChatMessage[] {
  if (!Array.isArray(value)) throw badRequest("messages must be a list", "messages");
  return value.map((entry, i) => {
    const message = asFields(entry, `messages[${i}]`);
    if (typeof message.role !== "string")
      throw badRequest(`messages[${i}].role must be a string`, "messages");
    return { role: message.role, content: contentText(message.content, `messages[${i}].content`) };
  });
}

/** A text prompt gets the begin-of-text token unless the request says otherwise, as Llama's tokenizer adds it. */
export function withSpecialTokens(prompt: string, fields: Fields): string {
  return fields.add_special_tokens === false ? prompt : BEGIN_OF_TEXT + prompt;
}

function isTokenIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0);
}

function readPrompts(fields: Fields): (string | Uint32Array)[] {
  const one = (prompt: unknown): string | Uint32Array => {
    if (typeof prompt === "string") return withSpecialTokens(prompt, fields);
    if (isTokenIds(prompt)) return Uint32Array.from(prompt);
    throw badRequest("prompt must be a string, token ids, or a list of either", "prompt");
  };
  const { prompt } = fields;
  if (Array.isArray(prompt) && prompt.length > 0 && !isTokenIds(prompt)) return prompt.map(one);
  return [one(prompt)];
}

function common(fields: Fields): Omit<GenerationRequest, "api" | "prompts"> {
  const limit = fields.max_completion_tokens ?? fields.max_tokens ?? undefined;
  const options = fields.stream_options;
  const salt = fields.cache_salt ?? "";
  if (typeof salt !== "string") throw badRequest("cache_salt must be a string", "cache_salt");
  return {
    answers: count(fields, "n", 1),
    maxTokens: count({ max_tokens: limit }, "max_tokens", DEFAULT_MAX_TOKENS),
    endsTurn: fields.ignore_eos !== true,
    stream: fields.stream === true,
    includeUsage:
      typeof options === "object" && options !== null && (options as Fields).include_usage === true,
    salt,
    returnTokenIds: fields.return_token_ids === true,
    transfer: readTransfer(fields.kv_transfer_params),
  };
}

/** @throws ApiError 400 or 404. */
export function readChatRequest(body: unknown, model: string): GenerationRequest {
  const fields = asFields(body, "body");
  checkModel(fields, model);
  const messages = readMessages(fields.messages);
  const prompt = renderChat(messages, fields.add_generation_prompt !== false);
  return { api: "chat", prompts: [prompt], ...common(fields) };
}

/** @throws ApiError 400 or 404. */
export function readCompletionRequest(body: unknown, model: string): GenerationRequest {
  const fields = asFields(body, "body");
  checkModel(fields, model);
  return { api: "completion", prompts: readPrompts(fields), ...common(fields) };
}
