// Requests whose prompts are not told from their text, whatever the model: named so that nobody has to find out.

export interface NeverExact {
  /** A top-level field, or in words what a request has. */
  request: string;
  reason: string;
}

const TEMPLATE = "the template may print it anywhere";

/** By top-level field; a request without the field, or with null in it, is not meant. */
export const NEVER_EXACT_FIELDS: NeverExact[] = [
  { request: "chat_template", reason: "the prompt is printed by another template than the pod's" },
  {
    request: "chat_template_kwargs",
    reason:
      "templates read them; enable_thinking alone is known, where the shape chat.enable_thinking is exact",
  },
  { request: "reasoning_effort", reason: TEMPLATE },
  { request: "documents", reason: TEMPLATE },
  { request: "truncate_prompt_tokens", reason: "what is left of the prompt is counted in tokens" },
  { request: "add_special_tokens", reason: "it changes how the prompt begins" },
  { request: "mm_processor_kwargs", reason: "it changes what images become" },
  { request: "echo", reason: "the engine may compute the whole prompt anew" },
  { request: "prompt_logprobs", reason: "the engine reads nothing from its cache" },
];

/** The others. */
export const NEVER_EXACT: NeverExact[] = [
  ...NEVER_EXACT_FIELDS,
  { request: "a top-level field that is not known", reason: "it may change the prompt" },
  {
    request: "messages of role developer, function or any other",
    reason: "engines treat them in ways of their own",
  },
  { request: "contents with images, audio or other media", reason: "their tokens are not those of a text" },
  { request: "prompt: token ids, or several prompts", reason: "one prompt of text is matched" },
  {
    request: "/v1/responses with tools, or items that are no messages",
    reason: "the engine keeps and prints them itself",
  },
];
