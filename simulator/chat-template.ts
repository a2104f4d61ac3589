// Llama 3's chat template, as tokenizer_config.json has it.

/** A message of a chat whose content is already one text. */
export interface ChatMessage {
  role: string;
  content: string;
}

// Python's str.strip, which Jinja's `trim` is; JavaScript's trim strips U+FEFF and leaves \x1c-\x1f and \x85.
const SPACE = "[ \\t-\\r\\x1c-\\x1f\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const LEADING = new RegExp(`^${SPACE}+`);
const ONE_SPACE = new RegExp(SPACE);

/** Strips white space as Python's `str.strip` does. */
export function pythonStrip(text: string): string {
  let end = text.length;
  while (end > 0 && ONE_SPACE.test(text[end - 1] as string)) end--;
  return text.slice(0, end).replace(LEADING, "");
}

/** Text that starts every prompt. */
export const BEGIN_OF_TEXT = "<|begin_of_text|>";
/** Token that ends a turn. */
export const END_OF_TURN = "<|eot_id|>";

const header = (role: string): string => `<|start_header_id|>${role}<|end_header_id|>\n\n`;

/** The prompt of a chat. Without messages it has no begin-of-text, as in the template. */
export function renderChat(messages: ChatMessage[], addGenerationPrompt: boolean): string {
  let prompt = messages.length > 0 ? BEGIN_OF_TEXT : "";
  for (const { role, content } of messages) prompt += header(role) + pythonStrip(content) + END_OF_TURN;
  return addGenerationPrompt ? prompt + header("assistant") : prompt;
}
