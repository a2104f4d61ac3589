// A Kubernetes API server as far as informers go: pages, versions, watches, and strict about what it is asked.
import http, { type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

type Labels = Record<string, string>;
interface Stored {
  collection: string;
  name: string;
  labels: Labels;
  object: Record<string, unknown>;
  version: number;
}
interface Watch {
  collection: string;
  selects(one: Stored): boolean;
  response: ServerResponse;
}

export class KubeServer {
  /** `path?query` of every request. */
  readonly asked: string[] = [];
  /** What was wrong with requests, in words. */
  readonly mistakes: string[] = [];
  /** The bearer token that is let in. */
  token = "first-token";
  /** Answers every request with this status, when set. */
  broken: number | null = null;
  /** Collections that are not installed: 404. */
  readonly missing = new Set<string>();
  pageSize = 500;
  origin = "";
  private version = 100;
  private oldest = 0;
  private readonly stored = new Map<string, Stored>();
  private readonly events: { version: number; type: string; one: Stored }[] = [];
  private readonly watches = new Set<Watch>();

  static async start(tls?: https.ServerOptions): Promise<KubeServer> {
    const kube = new KubeServer();
    const handler: http.RequestListener = (request, response) => void kube.answer(request, response);
    const server = tls ? https.createServer(tls, handler) : http.createServer(handler);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    kube.origin = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return kube;
  }

  get openWatches(): string[] {
    return [...this.watches].map((one) => one.collection);
  }

  put(collection: string, name: string, object: Record<string, unknown>, labels: Labels = {}): void {
    const key = `${collection}/${name}`;
    const one = { collection, name, labels, object, version: ++this.version };
    this.tell(this.stored.has(key) ? "MODIFIED" : "ADDED", one);
    this.stored.set(key, one);
  }

  remove(collection: string, name: string): void {
    const one = this.stored.get(`${collection}/${name}`)!;
    this.stored.delete(`${collection}/${name}`);
    this.tell("DELETED", { ...one, version: ++this.version });
  }

  /** Breaks every watch. */
  cut(): void {
    for (const { response } of this.watches) response.destroy();
  }

  /** Forgets all events so far: watches from before are told 410. */
  compact(): void {
    this.oldest = ++this.version;
    this.events.length = 0;
  }

  private tell(type: string, one: Stored): void {
    this.events.push({ version: one.version, type, one });
    for (const watch of this.watches) this.send(watch, type, one);
  }

  private send(watch: Watch, type: string, one: Stored): void {
    if (one.collection !== watch.collection || !watch.selects(one)) return;
    watch.response.write(`${JSON.stringify({ type, object: shown(one) })}\n`);
  }

  private answer(request: http.IncomingMessage, response: ServerResponse): unknown {
    const url = new URL(request.url!, "http://kube");
    this.asked.push(request.url!);
    const fail = (status: number, mistake?: string) => {
      if (mistake) this.mistakes.push(`${request.url}: ${mistake}`);
      response.writeHead(status).end(JSON.stringify({ kind: "Status", code: status }));
    };
    if (this.broken !== null) return fail(this.broken);
    if (request.headers.authorization !== `Bearer ${this.token}`) return fail(401);
    if (request.method !== "GET") return fail(405, `method ${request.method}`);
    const known = /^\/(api\/v1|apis\/[a-z.0-9-]+\/v1(alpha2)?)\/namespaces\/llm-d\/(pods|inferencepools)$/;
    if (!known.test(url.pathname)) return fail(404, "no such path");
    if (this.missing.has(url.pathname)) return fail(404);
    const query = Object.fromEntries(url.searchParams);
    const { fieldSelector, labelSelector, watch, ...rest } = query;
    if ((fieldSelector === undefined) === (labelSelector === undefined)) return fail(400, "one selector");
    const wanted = Object.entries(
      Object.fromEntries((labelSelector ?? "").split(",").map((l) => l.split("="))),
    );
    const selects = (one: Stored) =>
      fieldSelector === undefined
        ? wanted.every(([key, value]) => one.labels[key] === value)
        : fieldSelector === `metadata.name=${one.name}`;
    const allowed = watch
      ? ["allowWatchBookmarks", "resourceVersion", "timeoutSeconds"]
      : ["limit", "continue"];
    const unknown = Object.keys(rest).filter((key) => !allowed.includes(key));
    if (unknown.length > 0) return fail(400, `unknown ${unknown}`);
    const collection = url.pathname;
    if (!watch) {
      if (query.limit !== "500") return fail(400, "limit");
      const from = Number(query.continue ?? 0);
      const all = [...this.stored.values()].filter((one) => one.collection === collection && selects(one));
      const next = from + this.pageSize;
      response.writeHead(200, { "content-type": "application/json" }).end(
        JSON.stringify({
          metadata: {
            resourceVersion: String(this.version),
            ...(next < all.length ? { continue: String(next) } : {}),
          },
          items: all.slice(from, next).map(shown),
        }),
      );
      return;
    }
    const version = Number(query.resourceVersion);
    if (watch !== "1" || !(version >= 100) || !(Number(query.timeoutSeconds) > 0)) return fail(400, "watch");
    response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
    if (version < this.oldest) {
      const gone = { kind: "Status", code: 410, message: "too old resource version" };
      response.end(`${JSON.stringify({ type: "ERROR", object: gone })}\n`);
      return;
    }
    const opened = { collection, selects, response };
    this.watches.add(opened);
    response.on("close", () => this.watches.delete(opened));
    for (const event of this.events) if (event.version > version) this.send(opened, event.type, event.one);
  }
}

function shown({ name, labels, object, version }: Stored): object {
  return { ...object, metadata: { name, labels, resourceVersion: String(version) } };
}
