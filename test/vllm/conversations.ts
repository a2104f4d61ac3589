// Traffic that is hard to predict: shared beginnings, generated text sent back, every request shape that is scheduled.

export const KINDS = ["chat", "parts", "unicode", "tools", "salt", "completion"] as const;
type Kind = (typeof KINDS)[number];

type Message = { role: string; content: string | { type: "text"; text: string }[] };

/** A request as it is sent. */
export interface Turn {
  kind: Kind;
  path: string;
  body: Record<string, unknown>;
  salt: string;
}

const SYSTEMS = [
  "You are the assistant of a warehouse. Answer in short sentences, never guess, and say which shelf, aisle and " +
    "dock you mean. When an order is late, say why, and name the carrier. Numbers are given in metric units. " +
    "Do not promise refunds; those are for people to decide. If you do not know, say so and ask one question.",
  "You review Python code. For each function, name what it does, what it raises, and one case that breaks it.\n" +
    "    def example(path, *, mode='r'):\n        with open(path, mode) as handle:\n            return handle.read()\n" +
    "Keep to this form. Quote lines as they are. Prefer the standard library. Do not rewrite what works.",
  "  Translate between English, German and Japanese. Keep names as they are; explain idioms in a second line.  ",
];
const WORDS = (
  "import class return value queue worker parser compile the of a list order warehouse carrier shelf open file " +
  "exception handler thread result argument default encoding buffer socket server client request answer number"
).split(" ");
const UNICODE = [
  "Größe und Maße",
  "日本語のテキストです。",
  "naïve café — “quotes”",
  "🙂👩‍👩‍👧 family",
  "Здравствуй, мир",
  "مرحبا بالعالم",
  "e\u0301 decomposed",
  "線形代数とキャッシュ",
];
const TOOLS = [
  {
    type: "function",
    function: {
      name: "find_shelf",
      description: "Finds the shelf of an article, e.g. “A-12”.",
      parameters: {
        type: "object",
        properties: {
          article: { type: "string", description: "number or name" },
          limit: { type: "integer", minimum: 1, maximum: 50, default: 10 },
        },
        required: ["article"],
      },
    },
  },
  {
    type: "function",
    function: {
      name: "weather",
      description: "Weather in a city; units are <metric> & 'SI'.",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, days: { type: "number", enum: [1, 2.5, 7] } },
      },
    },
  },
];

/** A conversation: gives its next request, takes the answer. */
export class Conversation {
  readonly kind: Kind;
  readonly #random: () => number;
  readonly #model: string;
  readonly #messages: Message[] = [];
  readonly #salt: string;
  readonly #turns: number;
  #prompt = "";
  #sent = 0;

  constructor(kind: Kind, model: string, random: () => number) {
    this.kind = kind;
    this.#model = model;
    this.#random = random;
    this.#turns = 4 + this.#below(4);
    this.#salt = kind === "salt" ? `tenant-${this.#below(2)}` : "";
    const system = SYSTEMS[this.#below(SYSTEMS.length)]!;
    if (kind === "completion") this.#prompt = `# ${system}\n\n`;
    else if (kind === "parts")
      this.#messages.push({ role: "system", content: [{ type: "text", text: system }] });
    else if (random() < 0.8) this.#messages.push({ role: "system", content: system });
  }

  get over(): boolean {
    return this.#sent >= this.#turns;
  }

  /** The next request. Half are streamed; most let the model speak for a few blocks. */
  next(): Turn {
    this.#sent++;
    const salt = this.#salt;
    const common = {
      model: this.#model,
      max_tokens: [1, 20, 40, 60][this.#below(4)],
      temperature: this.#random() < 0.5 ? 0 : 0.9,
      seed: this.#below(1_000_000),
      ignore_eos: this.#random() < 0.5,
      return_token_ids: true,
      ...(salt === "" ? {} : { cache_salt: salt }),
      ...(this.#random() < 0.5 ? { stream: true, stream_options: { include_usage: true } } : {}),
    };
    if (this.kind === "completion") {
      this.#prompt += `${this.#text()}\n`;
      return { kind: this.kind, path: "/v1/completions", salt, body: { ...common, prompt: this.#prompt } };
    }
    this.#messages.push({ role: "user", content: this.#content() });
    return {
      kind: this.kind,
      path: "/v1/chat/completions",
      salt,
      body: {
        ...common,
        // A copy: the conversation goes on while the request is kept for its record.
        messages: [...this.#messages],
        ...(this.kind === "tools" ? { tools: TOOLS, tool_choice: "none" } : {}),
      },
    };
  }

  /** Takes what the model said, as a client would: text only. */
  answered(text: string): void {
    if (this.kind === "completion") this.#prompt += text;
    else this.#messages.push({ role: "assistant", content: text });
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #content(): Message["content"] {
    if (this.kind !== "parts") return this.#text();
    return Array.from({ length: 1 + this.#below(3) }, () => ({ type: "text" as const, text: this.#text() }));
  }

  #text(): string {
    const source = this.kind === "unicode" ? UNICODE : WORDS;
    const words = Array.from(
      { length: (this.kind === "unicode" ? 3 : 12) + this.#below(this.kind === "unicode" ? 8 : 40) },
      () => source[this.#below(source.length)]!,
    );
    return words.join(this.#random() < 0.2 ? "\n" : " ") + (this.#random() < 0.2 ? " \n" : "");
  }
}
