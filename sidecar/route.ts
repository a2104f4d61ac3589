// Where a request goes: answered here, to the local engine as it is, or split over two pods.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Pool } from "undici";
import type { ClientLink } from "./client-link.js";
import { apiOf, type CompletionApi } from "./completion-api.js";
import type { Passage, SidecarContext } from "./context.js";
import { settleDecode, startDecode } from "./decode-leg.js";
import { RequestRefused } from "./errors.js";
import { GenerationBody } from "./generation-body.js";
import { requestId, upstreamHeaders } from "./headers.js";
import { JsonSyntaxError } from "./json-edit.js";
import { answerHealth, answerMetrics } from "./own-routes.js";
import { PREFILLER_HEADER, parseCandidates, parseTarget, type Target } from "./prefiller.js";
import { hasBody, limitedBody, readBody, refuseDeclaredLength } from "./request-body.js";
import { serveSplit } from "./split-request.js";

const RANK_HEADER = "x-data-parallel-host-port";

/** Serves one request that came in at data-parallel rank `rank`. @throws RequestRefused and ClientGone */
export async function route(
  context: SidecarContext,
  engines: readonly Pool[],
  rank: number,
  request: IncomingMessage,
  client: ClientLink,
  draining: boolean,
): Promise<void> {
  const path = originForm(request.url!);
  const method = request.method!;
  const engine = engines[chosenRank(context, request, rank)]!;
  const id = requestId(request);
  const passage: Passage = { client, id, method, path, headers: [], engine };
  if (method === "GET") {
    if (path === "/health") return answerHealth(client.response, draining);
    if (path === "/metrics") return answerMetrics(context, passage);
    if (path === "/vllm/metrics") passage.path = "/metrics";
  }
  const api = method === "POST" ? apiOf(path) : null;
  const named = request.headers[PREFILLER_HEADER];
  const candidates = api !== null && named !== undefined ? allowedCandidates(context, String(named)) : null;
  const { options } = context;
  refuseDeclaredLength(request, options.maxBodyBytes);
  const looked = candidates !== null || options.reservedFields !== "allow";
  if (!hasBody(request) || !looked || !mayBeJson(request, api)) {
    passage.headers = upstreamHeaders(request, id, true);
    const body = hasBody(request) ? limitedBody(request, options.maxBodyBytes) : null;
    const outcome = await startDecode(context, passage, body, "local", { id }).outcome;
    return settleDecode(context, passage, outcome);
  }
  refuseEncoding(request);
  passage.headers = upstreamHeaders(request, id, false);
  const body = checkedBody(context, await readBody(request, options.maxBodyBytes));
  if (api !== null && candidates !== null) return serveSplit(context, passage, api, body, candidates);
  const outcome = await startDecode(context, passage, body.bytes, "local", { id }).outcome;
  settleDecode(context, passage, outcome);
}

// A body with a JSON type, or none, is read as JSON by engines whatever the path is spelled like.
function mayBeJson(request: IncomingMessage, api: CompletionApi | null): boolean {
  const type = request.headers["content-type"];
  return api !== null || type === undefined || /json/i.test(type);
}

function checkedBody(context: SidecarContext, bytes: Buffer): GenerationBody {
  const { options, metrics, rules } = context;
  try {
    const body = new GenerationBody(bytes, rules);
    if (options.reservedFields === "allow") return body;
    const field = body.reservedField();
    if (field === null) return body;
    metrics.reserved.inc();
    if (options.reservedFields === "strip") return body.withoutReserved();
    throw new RequestRefused("reserved_field", `only the router may set ${field}; remove it`);
  } catch (error) {
    if (error instanceof JsonSyntaxError) {
      throw new RequestRefused("malformed_json", `the body must be one JSON object: ${error.message}`);
    }
    throw error;
  }
}

// What a compressed body says cannot be checked.
function refuseEncoding(request: IncomingMessage): void {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw new RequestRefused("content_encoding_unsupported", "send JSON bodies without content-encoding");
  }
}

function allowedCandidates(context: SidecarContext, header: string): Target[] {
  const { metrics, allowlist, options, ssrfAlarm } = context;
  let candidates: Target[];
  try {
    candidates = parseCandidates(header);
  } catch (error) {
    metrics.ssrfBlocked.inc();
    ssrfAlarm.raise({ prefiller: header.slice(0, 300), why: "not host:port" });
    throw error;
  }
  for (const target of candidates) {
    if (allowlist.allows(target)) continue;
    metrics.ssrfBlocked.inc();
    const unsynced = allowlist.unsynced ?? null;
    ssrfAlarm.raise({ prefiller: target.authority, why: unsynced ?? "not in the allowlist" });
    throw new RequestRefused(
      "prefiller_not_allowed",
      unsynced === null
        ? `${target.authority} is no prefill pod of this pool (host and port must both match)`
        : "the sidecar does not know the prefill pods of its pool yet; its log says why",
    );
  }
  if (options.prefillerSampling && candidates.length > 1) {
    const first = Math.floor(Math.random() * candidates.length);
    return [...candidates.slice(first), ...candidates.slice(0, first)];
  }
  return candidates;
}

function chosenRank({ options }: SidecarContext, request: IncomingMessage, rank: number): number {
  const named = request.headers[RANK_HEADER];
  if (named === undefined) return rank;
  const target = parseTarget(String(named));
  const chosen = target === null ? -1 : target.port - (request.socket.localPort! - rank);
  const ours = target !== null && (options.podIp === null || options.podIp.toLowerCase() === target.host);
  if (!ours || chosen < 0 || chosen >= options.dataParallelSize) {
    throw new RequestRefused("unknown_data_parallel_rank", `${RANK_HEADER} names no rank of this pod`);
  }
  return chosen;
}

// A proxy request may carry a whole URL; an engine gets its path.
function originForm(url: string): string {
  if (url.startsWith("/")) return url;
  try {
    const { pathname, search } = new URL(url);
    return pathname.startsWith("/") ? pathname + search : "/";
  } catch {
    return "/";
  }
}

/** The status that a finished response counts as; 499 when the client left before. */
export function countedStatus(response: ServerResponse): string {
  return response.writableFinished ? String(response.statusCode) : "499";
}
