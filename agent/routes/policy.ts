// /api/v1/policy: read and change the policy in force. What a body must be is judged by agent/policy, which names
// every mistake with its place; the route schemas describe it for the API document.
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { parseDocument, stringify } from "yaml";
import { pointer } from "../config/validate.js";
import { codeOfStatus, type HttpProblem, replyError } from "../errors.js";
import { type Policy, PolicyInputSchema, PolicySchema } from "../policy/document.js";
import { isObject, mergePatch } from "../policy/merge-patch.js";
import type { SchedulingProgram } from "../policy/program.js";
import { patchTarget } from "../policy/short-form.js";
import type { ActivePolicy } from "../policy/store.js";
import { ErrorSchema, PolicyStatusSchema } from "../schemas/api.js";
import { slowSharing } from "../table/shared-load.js";
import { refuseForeignHost } from "./loopback-host.js";

/** Longest body; a policy of some hundred plugins has a tenth of it. */
const BODY_BYTES = 262_144;
const YAML_TYPES = ["application/yaml", "application/x-yaml", "text/yaml"];
const JSON_TYPES = ["application/json", "application/merge-patch+json"];

const writeErrors = {
  400: ErrorSchema,
  401: ErrorSchema,
  403: ErrorSchema,
  412: ErrorSchema,
  413: ErrorSchema,
  415: ErrorSchema,
  422: ErrorSchema,
  503: ErrorSchema,
};
const security = [{ token: [] }];
const PolicyHeaders = Type.Object({
  "if-match": Type.Optional(
    Type.String({ description: "ETag that is changed; another one is refused with 412" }),
  ),
});

const policy: FastifyPluginAsync = async (app) => {
  const log = app.pino.child({ component: "policy" });
  // Bodies are judged by agent/policy, not by the compiled route schemas.
  app.setValidatorCompiler(() => () => true);
  app.addContentTypeParser(
    "application/merge-patch+json",
    { parseAs: "string", bodyLimit: BODY_BYTES },
    app.getDefaultJsonParser("error", "error"),
  );
  app.addContentTypeParser(
    YAML_TYPES,
    { parseAs: "string", bodyLimit: BODY_BYTES },
    (_request, body, done) => {
      try {
        done(null, yamlValue(body as string));
      } catch (error) {
        done(Object.assign(error as Error, { statusCode: 400 }));
      }
    },
  );
  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
    const code = codeOfStatus(error.statusCode);
    if (code === "unsupported_media_type")
      return replyError(reply, code, `send the policy as ${[...JSON_TYPES, ...YAML_TYPES].join(", ")}`);
    if (code === "body_too_large") return replyError(reply, code, `a policy has at most ${BODY_BYTES} bytes`);
    throw error;
  });
  app.addHook("onRequest", async (request, reply) => {
    if (app.config.token !== null || request.method === "GET" || request.method === "HEAD") return;
    return refuseForeignHost(request, reply, "the policy is changed");
  });

  app.get(
    "/policy",
    {
      schema: {
        summary: "The policy in force",
        security,
        querystring: Type.Object({
          format: Type.Optional(Type.Union([Type.Literal("json"), Type.Literal("yaml")])),
        }),
        response: { 200: PolicySchema, 304: Type.Null(), 400: ErrorSchema, 401: ErrorSchema },
      },
    },
    async (request, reply) => {
      const { format } = request.query as { format?: unknown };
      if (format !== undefined && format !== "json" && format !== "yaml")
        return replyError(reply, "invalid_request", `format is json or yaml, not ${JSON.stringify(format)}`);
      const active = app.policy.current;
      if (tagsOf(request.headers["if-none-match"])?.includes(active.etag))
        return reply.header("etag", active.etag).code(304).send();
      return show(reply, active, format ?? "json");
    },
  );

  app.put(
    "/policy",
    {
      bodyLimit: BODY_BYTES,
      schema: {
        summary: "Replace the policy; what is left out has its default",
        security,
        consumes: ["application/json", ...YAML_TYPES],
        headers: PolicyHeaders,
        body: PolicyInputSchema,
        response: { 200: PolicySchema, ...writeErrors },
      },
    },
    (request, reply) => change(request, reply, () => request.body),
  );

  app.patch(
    "/policy",
    {
      bodyLimit: BODY_BYTES,
      schema: {
        summary: "Change parts of the policy: JSON Merge Patch (RFC 7396)",
        security,
        consumes: ["application/merge-patch+json", "application/json", ...YAML_TYPES],
        headers: PolicyHeaders,
        body: Type.Object(
          {},
          {
            additionalProperties: true,
            description: "Members replace; null brings a default back; lists are whole",
          },
        ),
        response: { 200: PolicySchema, ...writeErrors },
      },
    },
    (request, reply) => change(request, reply, (current) => patched(current, request.body)),
  );

  app.get(
    "/policy/status",
    {
      schema: {
        summary: "Version and origin of the policy in force, and what gateways run of it",
        security,
        response: { 200: PolicyStatusSchema, 401: ErrorSchema },
      },
    },
    async () => {
      const { version, etag, source, changedAt, program, notes } = app.policy.current;
      const slow = app.sharing.slowGateways;
      return {
        version,
        etag,
        source,
        changedAt,
        runs: runsOf(program.scheduling),
        notes: [
          ...notes.map(({ path, message }) => ({ path: pointer(path), reason: message })),
          ...(slow > 0 ? [{ path: "/sharing/slowAfter", reason: slowSharing(slow) }] : []),
        ],
      };
    },
  );

  async function change(
    request: FastifyRequest,
    reply: FastifyReply,
    make: (current: Policy) => unknown,
  ): Promise<FastifyReply> {
    const tags = tagsOf(request.headers["if-match"]);
    const result = await app.policy.change(make, (etag) => tags === null || tags.includes(etag));
    if (!("refused" in result)) {
      const { version, etag } = result.current;
      if (result.changed)
        log.info(
          { event_type: "policy_change", version, etag, method: request.method, peer: request.ip },
          "the policy was changed",
        );
      return show(reply, result.current, "json");
    }
    switch (result.refused) {
      case "precondition":
        return replyError(
          reply.header("etag", result.current.etag),
          "precondition_failed",
          `the policy is ${result.current.etag} now, not what If-Match says: read it again and repeat the change`,
        );
      case "state":
        return replyError(reply, "state_unwritable", `nothing was changed: ${result.reason}`);
      case "mistakes": {
        const problems = result.mistakes.map(
          ({ path, message }): HttpProblem => ({ path: pointer(path), reason: message }),
        );
        const text = problems.map(({ path, reason }) => `${path || "the document"}: ${reason}`);
        return replyError(reply, "invalid_policy", text.join("\n"), problems);
      }
    }
  }
};

export default policy;

/** The merge patch applied to the current policy; its `scheduling` may be in the short form. */
function patched(current: Policy, patch: unknown): unknown {
  const target = isObject(patch)
    ? { ...current, scheduling: patchTarget(current.scheduling, patch["scheduling"]) }
    : current;
  return mergePatch(target, patch);
}

function show(reply: FastifyReply, { version, etag, policy }: ActivePolicy, format: "json" | "yaml") {
  reply.header("etag", etag).header("x-policy-version", version).header("cache-control", "no-cache");
  if (format === "yaml") return reply.type("application/yaml").serializer(stringify).send(policy);
  return reply
    .type("application/json")
    .serializer((value: unknown) => `${JSON.stringify(value, null, 2)}\n`)
    .send(policy);
}

/** Entity tags of If-Match or If-None-Match; null when there is no condition. Weak tags match nothing. */
function tagsOf(header: string | undefined): string[] | null {
  if (header === undefined || header.trim() === "*") return null;
  return header.split(",").map((tag) => tag.trim());
}

/** @throws Error naming line and column of what is no YAML. */
function yamlValue(text: string): unknown {
  const doc = parseDocument(text, { merge: false });
  const error = doc.errors[0];
  if (error) throw new Error(`the body is no YAML: ${error.message.split("\n")[0]!.replace(/:$/, "")}`);
  return doc.toJS({ maxAliasCount: 100 });
}

/** What gateways run, for people. */
function runsOf({ handler, profiles }: SchedulingProgram) {
  return {
    handler,
    profiles: profiles.map(({ name, role, ops }) => ({
      name,
      role,
      filters: ops.filter(({ op }) => op.startsWith("Filter")).map((op) => op.name),
      scorers: ops
        .slice(0, -1)
        .filter(({ op }) => !op.startsWith("Filter"))
        .map(({ name, weight }) => ({ name, weight })),
      picker: ops.at(-1)!.name,
    })),
  };
}
