import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { engineRenderer } from "../../agent/model/engine-renderer.js";
import { namesOf } from "../../agent/model/model-service.js";
import { type ProbeResult, probeTemplate } from "../../agent/model/template-prober.js";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import { edited } from "../../agent/model/turn-program.js";
import { seeded } from "../../simulate/random.js";
import { EngineServer, type EngineServerOptions } from "./engine-server.js";
import { fixturePath } from "./fixtures.js";

const servers: EngineServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function probe(options: EngineServerOptions): Promise<ProbeResult> {
  const server = new EngineServer(options);
  servers.push(server);
  const table = await loadTokenBytes(fixturePath("model-chatml/tokenizer.json"));
  return probeTemplate(engineRenderer(`http://127.0.0.1:${await server.listen()}`, table), seeded(1));
}

const LLAMA3 =
  "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + python_strip(message['content']) + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

function text(bytes: Uint8Array | null | undefined): string | null {
  return bytes ? Buffer.from(bytes).toString() : null;
}

describe("the template prober", () => {
  test("learns ChatML byte for byte", async () => {
    const result = await probe({});
    if (!result.exact) throw new Error(result.reason);
    expect(text(result.program.joints[0]![2])).toBe("<|im_start|>user\n");
    expect(text(result.program.joints[2]![5])).toBe("<|im_end|>\n<|im_start|>assistant\n");
    expect(text(result.program.joints[2]![4])).toBe("<|im_end|>\n");
    expect(result.program.strip).toEqual({ system: "raw", user: "raw", assistant: "raw" });
    expect(result.verified).toBeGreaterThanOrEqual(30);
  });

  test("learns the strip rule and the beginning of text of a template like Llama 3's", async () => {
    const result = await probe({ template: LLAMA3, bos: "<|endoftext|>" });
    if (!result.exact) throw new Error(result.reason);
    expect(text(result.program.bos)).toBe("<|endoftext|>");
    expect(text(result.program.joints[0]![1])).toBe(
      "<|endoftext|><|start_header_id|>system<|end_header_id|>\n\n",
    );
    expect(result.program.strip).toEqual({ system: "both", user: "both", assistant: "both" });
  });

  test("learns a strip rule that only one role has", async () => {
    const template =
      "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{{ python_strip(m.content) }}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    const result = await probe({ template });
    if (!result.exact) throw new Error(result.reason);
    expect(result.program.strip).toEqual({ system: "raw", user: "raw", assistant: "both" });
  });

  test("leaves joints unknown that the engine refuses", async () => {
    const template =
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    const result = await probe({ template });
    if (!result.exact) throw new Error(result.reason);
    expect(result.program.joints[0]![1]).toBeNull();
    expect(text(result.program.joints[0]![2])).toBe("<user>");
  });

  test("keeps usual chats exact when only an odd order differs", async () => {
    const template =
      "{% for m in messages %}<{{ m.role }}>{% if loop.last and m.role == 'assistant' %}<think>{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    const result = await probe({ template });
    if (!result.exact) throw new Error(result.reason);
    expect(text(result.program.joints[2]![3])).toBe("<assistant>");
    expect(result.program.joints[3]![5]).toBeNull();
    expect(text(result.program.joints[2]![5])).toBe("<assistant>");
  });

  test("knows a template with a rule about empty text but for empty texts", async () => {
    const result = await probe({
      template:
        "{% for m in messages %}{% if m.content %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}!",
    });
    if (!result.exact) throw new Error(result.reason);
    expect(result.program.emptyUnknown).toMatchObject({ system: true, user: true, assistant: true });
  });

  test.each([
    [
      "edited text",
      "{% for m in messages %}<{{ m.role }}>{{ m.content | replace('user', 'USER') }}{% endfor %}!",
    ],
    [
      "a number before each message",
      "{% for m in messages %}<{{ loop.index }}{{ m.role }}>{{ m.content }}{% endfor %}!",
    ],
    ["upper case", "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}!"],
  ])("does not use a template with %s", async (_, template) => {
    const result = await probe({ template });
    expect(result.exact).toBe(false);
    expect(result.reason).not.toBe("");
  });

  test("learns that text parts are joined by nothing, and leaves out those joined in an unknown way", async () => {
    const joined = await probe({ joinParts: (parts) => parts.join("") });
    expect(joined.program.joinParts).toBe("");
    expect(joined.program.partsUnknown).toBe(false);
    const odd = await probe({ joinParts: (parts) => parts.join("; ") });
    expect(odd.exact).toBe(true);
    expect(odd.program.partsUnknown).toBe(true);
    expect(odd.shapes.find((shape) => shape.shape === "chat.parts")).toMatchObject({ exact: false });
  });

  test("fails when the engine does not answer", async () => {
    const table = await loadTokenBytes(fixturePath("model-chatml/tokenizer.json"));
    await expect(probeTemplate(engineRenderer("http://127.0.0.1:1", table), seeded(1))).rejects.toThrow();
  });
});

describe("an edit", () => {
  test("strips what Python strips and nothing else", () => {
    const space = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000";
    expect(edited(`${space}a b${space}`, "both")).toBe("a b");
    expect(edited(`${space}a${space}`, "left")).toBe(`a${space}`);
    expect(edited(`${space}a${space}`, "right")).toBe(`${space}a`);
    expect(edited("\ufeffa\u200b", "both")).toBe("\ufeffa\u200b");
    expect(edited(space, "both")).toBe("");
    expect(edited("\n\n a \n", "lines-left")).toBe(" a \n");
    expect(edited("\n a \n\n", "lines-both")).toBe(" a ");
  });
});

describe("an engine's answers that are not what they should be", () => {
  /** What `/tokenize` with these tokens makes of a raw prompt. */
  async function answered(body: string): Promise<unknown> {
    const server = createServer((_, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const table = await loadTokenBytes(fixturePath("model-chatml/tokenizer.json"));
      const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      return await engineRenderer(base, table)
        .raw("x")
        .catch((error: Error) => error.message);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  test.each([
    ["[]", "without tokens"],
    ["null", "without tokens"],
    ['{"tokens": {"0": 5}}', "without tokens"],
    ['{"tokens": ["5"]}', "tokens that the configured tokenizer does not have"],
    ['{"tokens": [1.5]}', "tokens that the configured tokenizer does not have"],
    ['{"tokens": [[5]]}', "tokens that the configured tokenizer does not have"],
    ['{"tokens": [-1]}', "tokens that the configured tokenizer does not have"],
    [`{"tokens": [${"5,".repeat(3_000_000)}5]}`, "more than"],
    ['{"tokens": [5', "JSON"],
  ])("are an error that says so, and no prompt (%.30s)", async (body, message) => {
    expect(await answered(body)).toContain(message);
  });

  test("give a template whose own text is of any length no place in the table", async () => {
    const padding = Buffer.alloc(200_000, "x");
    const result = await probeTemplate(
      {
        chat: async ({ messages }) =>
          Buffer.concat([padding, ...messages.map((m) => Buffer.from(`${m.content}`))]),
        raw: async (prompt) => Buffer.from(prompt),
      },
      seeded(1),
    );
    expect(result.reason).toContain("takes");
    expect(result.program.turns.plain).toBeNull();
  });

  test("name no more models than a gateway's table holds", () => {
    const data = Array.from({ length: 5000 }, (_, i) => ({ id: `lora-${i}`, parent: "m" }));
    expect(namesOf({ data }).size).toBe(1024);
    expect(namesOf({ data: [{ id: "x".repeat(256) }, { id: 5 }, null, { id: "m" }] })).toEqual(
      new Map([["m", ""]]),
    );
    for (const odd of [null, 5, [], { data: {} }, { data: null }]) expect(namesOf(odd).size).toBe(0);
  });
});
