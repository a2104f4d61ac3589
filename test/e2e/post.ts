// Chat requests over connections that are kept.
import { type Agent, request } from "node:http";

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  /** Until the answer's end. */
  ms: number;
}

/** Sends a chat request; resolves with the whole answer. */
export function post(
  port: number,
  body: string,
  agent: Agent,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Answer> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const req = request(
      {
        host: "127.0.0.1",
        port,
        method: "POST",
        path: "/v1/chat/completions",
        agent,
        headers: {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          ...headers,
        },
        ...(signal ? { signal } : {}),
      },
      (res) => {
        let text = "";
        res.setEncoding("utf8").on("data", (t: string) => {
          text += t;
        });
        res.on("end", () =>
          resolve({ status: res.statusCode!, headers: res.headers, text, ms: performance.now() - begun }),
        );
      },
    );
    req.on("error", reject);
    req.end(body);
  });
}
