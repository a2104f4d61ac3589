// The HTTP side of an engine: /tokenize that renders a real template with a real tokenizer, /metrics, /v1/models.
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { fixturePath } from "./fixtures.js";

interface Message {
  role: string;
  content: string | { type: string; text: string }[];
}

export interface EngineServerOptions {
  template?: string;
  bos?: string;
  models?: { id: string; parent?: string | null }[];
  metrics?: string;
  /** Answer of /kv_event_sources, which older releases do not have. */
  eventSources?: Record<string, unknown>;
  /** Joins the text of a part list; vLLM's "string" format joins with newlines. */
  joinParts?: (parts: string[]) => string;
}

const CHATML =
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

const METRICS = `# HELP vllm:num_requests_running Number of requests
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="512"} 1.0
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 600.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
`;

export class EngineServer {
  readonly #server: Server;
  readonly #tokenizer: Tokenizer;
  options: EngineServerOptions;
  requests = 0;

  constructor(options: EngineServerOptions = {}) {
    this.options = options;
    const read = (name: string) => JSON.parse(readFileSync(fixturePath(`model-chatml/${name}`), "utf8"));
    this.#tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
    this.#server = createServer((request, response) => {
      this.requests++;
      const chunks: Buffer[] = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        const { status, body } = this.#answer(request.url ?? "", Buffer.concat(chunks).toString());
        response.writeHead(status, {
          "content-type": typeof body === "string" ? "text/plain" : "application/json",
        });
        response.end(typeof body === "string" ? body : JSON.stringify(body));
      });
    });
  }

  listen(port = 0): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(port, "127.0.0.1", () => resolve((this.#server.address() as AddressInfo).port));
    });
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #answer(url: string, text: string): { status: number; body: unknown } {
    if (url === "/metrics") return { status: 200, body: this.options.metrics ?? METRICS };
    if (url === "/health") return { status: 200, body: "" };
    if (url === "/v1/models") return { status: 200, body: { data: this.options.models ?? [{ id: "m" }] } };
    if (url === "/kv_event_sources" && this.options.eventSources)
      return { status: 200, body: this.options.eventSources };
    if (url !== "/tokenize") return { status: 404, body: { error: "no such path" } };
    const request = JSON.parse(text) as {
      prompt?: string;
      messages?: Message[];
      add_generation_prompt?: boolean;
    };
    try {
      const prompt =
        request.messages === undefined
          ? (this.options.bos ?? "") + request.prompt
          : this.#render(request.messages, request.add_generation_prompt ?? true);
      const { ids } = this.#tokenizer.encode(prompt, { add_special_tokens: false });
      return { status: 200, body: { count: ids.length, max_model_len: 8192, tokens: ids } };
    } catch (error) {
      return { status: 400, body: { error: { message: (error as Error).message } } };
    }
  }

  #render(messages: Message[], generationPrompt: boolean): string {
    const join =
      this.options.joinParts ?? ((parts: string[]) => parts.filter((part) => part !== "").join("\n"));
    const plain = messages.map(({ role, content }) => ({
      role,
      content: typeof content === "string" ? content : join(content.map((part) => part.text)),
    }));
    return new Template(this.options.template ?? CHATML).render({
      messages: plain,
      add_generation_prompt: generationPrompt,
      bos_token: this.options.bos ?? "",
      python_strip: pythonStrip,
    });
  }
}

// The JavaScript engine's own `trim` takes away U+FEFF and leaves U+001C to U+001F and U+0085; Python does not.
function pythonStrip(text: string): string {
  const space = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000";
  const isSpace = (c: string) => space.includes(c) || (c >= "\u2000" && c <= "\u200a");
  const letters = [...text];
  while (letters.length > 0 && isSpace(letters[0]!)) letters.shift();
  while (letters.length > 0 && isSpace(letters.at(-1)!)) letters.pop();
  return letters.join("");
}
