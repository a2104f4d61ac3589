// Connections to upstream servers: one pool per origin, the least recently used ones are let go.
import { Pool } from "undici";

/** TLS towards a kind of server; null = plain HTTP. */
export interface UpstreamTls {
  /** Accept any certificate. */
  insecureSkipVerify: boolean;
  /** PEM certificates to trust beside the system's, or null. */
  ca: string | null;
}

/** How long a TCP and TLS handshake may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5000;

/**
 * A pool without limit on connections: each stream holds one. Deadlines are the caller's, so undici's own are off.
 * Idle connections are closed before uvicorn's 5 s keep-alive ends, or a request could meet a closing server.
 */
export function openPool(origin: string, tls: UpstreamTls | null): Pool {
  return new Pool(origin, {
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 4000,
    connect: {
      timeout: CONNECT_TIMEOUT_MS,
      ...(tls ? { rejectUnauthorized: !tls.insecureSkipVerify, ...(tls.ca ? { ca: tls.ca } : {}) } : {}),
    },
  });
}

/** The pools to prefill pods: at most `limit`, the least recently used one closes once its requests have ended. */
export class PoolCache {
  private readonly pools = new Map<string, Pool>();

  constructor(
    private readonly limit: number,
    private readonly tls: () => UpstreamTls | null,
  ) {}

  get size(): number {
    return this.pools.size;
  }

  /** The pool of `host:port`, opened if need be. */
  get(authority: string): Pool {
    let pool = this.pools.get(authority);
    if (pool) {
      this.pools.delete(authority);
    } else {
      const tls = this.tls();
      pool = openPool(`${tls ? "https" : "http"}://${authority}`, tls);
      if (this.pools.size >= this.limit) {
        const [oldest] = this.pools;
        this.pools.delete(oldest![0]);
        closeQuietly(oldest![1]);
      }
    }
    this.pools.set(authority, pool);
    return pool;
  }

  /** Lets every pool go; running requests end on theirs, new ones open others (changed certificates). */
  clear(): void {
    for (const pool of this.pools.values()) closeQuietly(pool);
    this.pools.clear();
  }

  /** Breaks every connection. */
  async destroy(): Promise<void> {
    const pools = [...this.pools.values()];
    this.pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

// A pool that closes has no one left to tell.
function closeQuietly(pool: Pool): void {
  pool.close().catch(() => {});
}
