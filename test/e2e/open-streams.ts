// Many streamed answers that are open at once, each over a connection of its own, so that all workers have some.
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { MODEL } from "../../demo/fleet.js";

/** How a stream ended. */
interface StreamEnd {
  /** The answer came to its [DONE], and the connection was whole until then. */
  complete: boolean;
  /** completion_tokens of its usage, 0 without. */
  tokens: number;
  error: string;
}

export interface OpenStream {
  response: IncomingMessage;
  /** Whether the answer has ended, in whatever way. */
  readonly ended: boolean;
  end: Promise<StreamEnd>;
}

/** Asks for an answer of `tokens` tokens; resolves when its first frame is here. @throws when there is none. */
export async function openStream(port: number, prompt: string, tokens: number): Promise<OpenStream> {
  const body = Buffer.from(
    JSON.stringify({
      model: MODEL,
      messages: [{ role: "user", content: prompt }],
      max_tokens: tokens,
      ignore_eos: true,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const headers = { "content-type": "application/json", "content-length": body.length };
  const req: ClientRequest = request({
    host: "127.0.0.1",
    port,
    method: "POST",
    path: "/v1/chat/completions",
    agent: false,
    headers,
  });
  req.end(body);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    req.once("response", resolve).once("error", reject);
  });
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
  req.on("error", () => undefined);

  // Usage and [DONE] stand at the end; the rest of a long answer need not be kept.
  let tail = "";
  let ended = false;
  let error = "";
  const first = new Promise<void>((done) => {
    response.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-2000);
      done();
    });
    response.once("close", done);
  });
  response.on("error", (e) => {
    error = e.message;
  });
  const end = new Promise<StreamEnd>((done) => {
    response.once("close", () => {
      ended = true;
      const usage = /"completion_tokens":(\d+)/.exec(tail);
      const complete = error === "" && response.complete && tail.endsWith("data: [DONE]\n\n");
      done({ complete, tokens: Number(usage?.[1] ?? 0), error });
    });
  });
  await first;
  return {
    response,
    end,
    get ended() {
      return ended;
    },
  };
}

export interface Probe {
  status: number;
  /** x-selected-pod: the pod that the filter chose; absent when none did. */
  selected: string | undefined;
  /** x-filter-build: absent with the release build. */
  build: string | undefined;
}

/** A short request over a connection of its own. Status 0 stands for a connection that failed. */
export function probe(port: number, prompt = "hello"): Promise<Probe> {
  const body = Buffer.from(
    JSON.stringify({ model: MODEL, messages: [{ role: "user", content: prompt }], max_tokens: 1 }),
  );
  const headers = { "content-type": "application/json", "content-length": body.length };
  return new Promise((resolve) => {
    const failed = () => resolve({ status: 0, selected: undefined, build: undefined });
    request(
      { host: "127.0.0.1", port, method: "POST", path: "/v1/chat/completions", agent: false, headers },
      (response) => {
        const { "x-selected-pod": selected, "x-filter-build": build } = response.headers;
        response.on("error", failed).resume();
        response.on("end", () =>
          resolve({
            status: response.statusCode!,
            selected: selected as string | undefined,
            build: build as string | undefined,
          }),
        );
      },
    )
      .on("error", failed)
      .end(body);
  });
}
