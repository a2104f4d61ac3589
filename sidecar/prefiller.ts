// The prefill pods that a gateway names in a request header.
import { RequestRefused } from "./errors.js";

/** Where the gateway names prefill pods: `host:port`, best first, several after commas. */
export const PREFILLER_HEADER = "x-prefiller-host-port";

/** More candidates than this are a mistake, not a choice. */
const MOST_CANDIDATES = 16;

/** A server by name and port. `authority` is its canonical `host:port`, equal for equal targets. */
export interface Target {
  /** Lower case; IPv6 without brackets. */
  host: string;
  port: number;
  authority: string;
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$/;
const NUMERIC = /^[0-9.]+$/;
const NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const SHAPE = /^(?:https?:\/\/)?(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9.-]{1,253})):([1-9]\d{0,4})\/?$/;

/**
 * Reads `host:port`, `[ipv6]:port` or `http://host:port`. Anything more (a user, path, query, space, control character or
 * percent sign) is no target: what passes here can be put into a URL or a Host header as it is. Null when it is none.
 */
export function parseTarget(text: string): Target | null {
  const found = SHAPE.exec(text.toLowerCase());
  if (!found) return null;
  const port = Number(found[3]);
  if (port > 65535) return null;
  if (found[1] !== undefined) {
    const host = canonicalIpv6(found[1]);
    return host === null ? null : { host, port, authority: `[${host}]:${port}` };
  }
  const host = found[2]!;
  // "10.1" and "2130706433" are addresses to resolvers: only the full form is one here.
  if (NUMERIC.test(host) ? !IPV4.test(host) : !NAME.test(host)) return null;
  return { host, port, authority: `${host}:${port}` };
}

/**
 * The candidates of a header value, best first, without repeats.
 * @throws RequestRefused `invalid_prefiller` when one of them is no `host:port`.
 */
export function parseCandidates(header: string): Target[] {
  const targets = new Map<string, Target>();
  for (const part of header.split(",")) {
    const text = part.trim();
    if (text === "") continue;
    const target = parseTarget(text);
    if (!target) {
      throw new RequestRefused("invalid_prefiller", `${PREFILLER_HEADER} must be host:port, best first`);
    }
    targets.set(target.authority, target);
  }
  if (targets.size === 0 || targets.size > MOST_CANDIDATES) {
    throw new RequestRefused(
      "invalid_prefiller",
      `${PREFILLER_HEADER} names ${targets.size} pods; it must name 1 to ${MOST_CANDIDATES}`,
    );
  }
  return [...targets.values()];
}

function canonicalIpv6(text: string): string | null {
  try {
    return new URL(`http://[${text}]/`).hostname.slice(1, -1);
  } catch {
    return null;
  }
}
