// Clients that send exactly the bytes they are given, over HTTP/1.1 and HTTP/2, for requests that no library would make.
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";

export interface Answer {
  status: number;
  /** Names in lower case. */
  headers: Map<string, string>;
  /** Transfer coding is left as it is. */
  body: string;
}

/** The head of an HTTP/1.1 request; `headers` are whole lines. */
export function head(path: string, headers: string[]): Buffer {
  return Buffer.from(
    [`POST ${path} HTTP/1.1`, "host: gateway", "content-type: application/json", ...headers, "", ""].join(
      "\r\n",
    ),
  );
}

/** `body` in chunked transfer coding, `size` bytes a chunk, with `trailers` as whole lines. */
export function chunks(body: Buffer, size: number, trailers: string[] = []): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const piece = body.subarray(at, at + size);
    parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
  }
  parts.push(Buffer.from(["0", ...trailers, "", ""].join("\r\n")));
  return Buffer.concat(parts);
}

/** Opens a connection and sends `bytes`; nothing is read. */
export async function begin(port: number, bytes: Buffer): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  // Who leaves early does not care what becomes of the connection.
  socket.on("error", () => undefined);
  socket.write(bytes);
  return socket;
}

/** The answer in what came so far; undefined while it is not whole. Without a length it ends with the connection. */
function parse(text: string, ended: boolean): Answer | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [line, ...lines] = text.slice(0, end).split("\r\n") as [string, ...string[]];
  const headers = new Map(
    lines.map((l): [string, string] => {
      const colon = l.indexOf(":");
      return [l.slice(0, colon).toLowerCase(), l.slice(colon + 1).trim()];
    }),
  );
  const body = text.slice(end + 4);
  const length = headers.get("content-length");
  if (!ended && (length === undefined || body.length < Number(length))) return undefined;
  return { status: Number(line.split(" ")[1]), headers, body };
}

/**
 * Sends an HTTP/1.1 request and reads its answer, which may come before the body is all sent.
 * @throws Error when the connection ends without an answer.
 */
export async function sendHttp1(port: number, bytes: Buffer): Promise<Answer> {
  const socket = await begin(port, bytes);
  let text = "";
  try {
    return await new Promise((resolve, reject) => {
      const look = (ended: boolean) => {
        const answer = parse(text, ended);
        if (answer) resolve(answer);
        else if (ended) reject(new Error(`no answer but ${JSON.stringify(text)}`));
      };
      socket.setEncoding("latin1").on("data", (part: string) => {
        text += part;
        look(false);
      });
      socket.once("close", () => look(true));
    });
  } finally {
    socket.destroy();
  }
}

interface Http2Request {
  path: string;
  /** Sent as one DATA frame or more; null ends the stream at its headers. */
  body: Buffer | null;
  trailers?: Record<string, string>;
}

/** Sends a request over HTTP/2 without TLS, which the server must know beforehand. @throws when it is reset unanswered. */
export async function sendHttp2(port: number, request: Http2Request): Promise<Answer> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request(
      { ":method": "POST", ":path": request.path, "content-type": "application/json" },
      { endStream: request.body === null, waitForTrailers: request.trailers !== undefined },
    );
    if (request.trailers) stream.on("wantTrailers", () => stream.sendTrailers(request.trailers!));
    let failure: Error | undefined;
    stream.on("error", (e: Error) => {
      failure = e;
    });
    const answer: Answer = { status: 0, headers: new Map(), body: "" };
    stream.on("response", (headers) => {
      answer.status = Number(headers[":status"]);
      for (const [name, value] of Object.entries(headers)) answer.headers.set(name, String(value));
    });
    stream.setEncoding("utf8").on("data", (text: string) => {
      answer.body += text;
    });
    if (request.body !== null) stream.end(request.body);
    if (!stream.closed) await new Promise((done) => stream.once("close", done));
    if (answer.status === 0) throw failure ?? new Error("the stream closed without an answer");
    return answer;
  } finally {
    session.destroy();
  }
}
