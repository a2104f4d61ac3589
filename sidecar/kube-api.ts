// The Kubernetes API as a pod sees it: its service account, lists in pages, and watches (one JSON object a line).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import type { Pool } from "undici";
import { ConfigError } from "../agent/errors.js";
import { openPool } from "./pools.js";

/** Where Kubernetes mounts a pod's service account. */
const ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";
const LIST_TIMEOUT_MS = 30_000;
/** How long the server is asked to keep a watch open. */
const WATCH_SECONDS = 290;
/** After this a watch whose server fell silent is given up. */
const WATCH_TIMEOUT_MS = (WATCH_SECONDS + 30) * 1000;
const PAGE_SIZE = 500;
const LONGEST_PAGE = 64 << 20;
const LONGEST_EVENT = 4 << 20;

/** How to reach the API server. Token and certificates are read for each connection: Kubernetes renews them. */
export interface KubeAccess {
  /** `https://host:port` */
  origin: string;
  /** @throws when it cannot be read. */
  token(): string;
  /** PEM certificates that the server is signed by; null = the system's. @throws when it cannot be read. */
  ca(): string | null;
}

/** A collection and what of it is asked for: `fieldSelector`, `labelSelector`. */
export interface Resource {
  path: string;
  selector: Record<string, string>;
}

/** An object of any kind. Nothing but the name is certain. */
export interface KubeObject {
  metadata: { name: string; resourceVersion?: string; labels?: Record<string, string> };
  [key: string]: unknown;
}

export interface Page {
  items: KubeObject[];
  metadata: { resourceVersion: string; continue?: string };
}

export interface WatchEvent {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  object: KubeObject;
}

/** An answer other than 200, or a watch that the server ends with an error. 410 = the version is too old. */
export class KubeError extends Error {
  override readonly name = "KubeError";
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/**
 * The access of the pod that this process runs in.
 * @throws ConfigError outside of a cluster.
 */
export function inClusterAccess(env: NodeJS.ProcessEnv, folder = ACCOUNT_FOLDER): KubeAccess {
  const host = env.KUBERNETES_SERVICE_HOST;
  if (!host) {
    throw new ConfigError(
      "--inference-pool: this is no pod of a Kubernetes cluster (KUBERNETES_SERVICE_HOST is not set); give --allowlist-file instead",
    );
  }
  const port = env.KUBERNETES_SERVICE_PORT || "443";
  return {
    origin: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    token: () => readFileSync(join(folder, "token"), "utf8").trim(),
    ca: () => readFileSync(join(folder, "ca.crt"), "utf8"),
  };
}

/** One connection's worth of requests; `close` breaks what runs. */
export class KubeConnection {
  private readonly pool: Pool;
  private readonly token: string;

  /** @throws when token or certificates cannot be read. */
  constructor(access: KubeAccess) {
    this.token = access.token();
    this.pool = openPool(
      access.origin,
      access.origin.startsWith("https:") ? { insecureSkipVerify: false, ca: access.ca() } : null,
    );
  }

  /** One page of a list. @throws KubeError, or a network error. */
  async page(resource: Resource, from: string | undefined): Promise<Page> {
    const query = { limit: String(PAGE_SIZE), ...(from ? { continue: from } : {}) };
    return this.request(resource, query, LIST_TIMEOUT_MS, async (body) => {
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of body) {
        size += chunk.length;
        if (size > LONGEST_PAGE) throw new KubeError(200, `a list is longer than ${LONGEST_PAGE} bytes`);
        chunks.push(chunk);
      }
      return JSON.parse(Buffer.concat(chunks).toString("utf8")) as Page;
    });
  }

  /** Calls `seen` for every event after `version`, until the server ends the watch. @throws KubeError, or a network error. */
  async watch(resource: Resource, version: string, seen: (event: WatchEvent) => void): Promise<void> {
    const query = {
      watch: "1",
      allowWatchBookmarks: "true",
      resourceVersion: version,
      timeoutSeconds: String(WATCH_SECONDS),
    };
    await this.request(resource, query, WATCH_TIMEOUT_MS, async (body) => {
      for await (const line of lines(body)) {
        const { type, object } = JSON.parse(line) as { type: string; object: KubeObject };
        if (type === "ERROR") {
          const { code, message } = object as unknown as { code?: number; message?: string };
          throw new KubeError(code ?? 500, message ?? "the watch ended with an error");
        }
        seen({ type, object } as WatchEvent);
      }
    });
  }

  close(): void {
    this.pool.destroy().catch(() => {});
  }

  private async request<T>(
    { path, selector }: Resource,
    query: Record<string, string>,
    timeoutMs: number,
    read: (body: AsyncIterable<Buffer>) => Promise<T>,
  ): Promise<T> {
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new Error(`no end within ${timeoutMs / 1000} s`)),
      timeoutMs,
    ).unref();
    try {
      const { statusCode, body } = await this.pool.request({
        method: "GET",
        path: `${path}?${new URLSearchParams({ ...selector, ...query })}`,
        headers: { authorization: `Bearer ${this.token}`, accept: "application/json" },
        signal: late.signal,
      });
      if (statusCode !== 200) {
        await body.dump();
        throw new KubeError(statusCode, `the API server answers ${statusCode} to ${path}`);
      }
      return await read(body);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for await (const chunk of body) {
    const parts = (rest + decoder.write(chunk)).split("\n");
    rest = parts.pop()!;
    if (rest.length > LONGEST_EVENT) throw new KubeError(200, "a watch event is too long");
    for (const part of parts) if (part.trim() !== "") yield part;
  }
}
