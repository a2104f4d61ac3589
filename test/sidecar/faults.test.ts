// The fault table of docs/sidecar.md, row by row. Each ends with nothing in flight.
import { expect, test } from "vitest";
import { answerJson, type Behaviour, goodDecode, goodPrefill, startPod } from "./pods.js";
import {
  type Answer,
  ask,
  askSplit,
  type SidecarForTest,
  startTestSidecar,
  until,
  untilIdle,
} from "./sidecar-for-test.js";

const BODY = '{"model":"m","prompt":"hi","max_tokens":5}';
const hang: Behaviour = () => {};

interface Fault {
  fault: string;
  prefill: Behaviour;
  outcome: string;
  /** With --prefill-failure=error. */
  error: { status: number; code?: string };
}

// Short only where it must pass.
const deadline = (outcome: string) => (outcome === "timeout" ? { prefillTimeout: "300ms" } : {});

const FAULTS: Fault[] = [
  {
    fault: "answers 500",
    prefill: (_, response) => answerJson(response, '{"error":"out of memory"}', 500),
    outcome: "error_status",
    error: { status: 500 },
  },
  {
    fault: "redirects",
    prefill: (_, response) => response.writeHead(307, { location: "http://10.0.0.1/" }).end(),
    outcome: "error_status",
    error: { status: 307 },
  },
  {
    fault: "closes the connection",
    prefill: (_, response) => response.destroy(),
    outcome: "unreachable",
    error: { status: 502, code: "prefill_failed" },
  },
  {
    fault: "never answers",
    prefill: hang,
    outcome: "timeout",
    error: { status: 504, code: "prefill_timeout" },
  },
  {
    fault: "stops in the middle of its answer",
    prefill: (_, response) => response.writeHead(200, { "content-length": "100" }).write("{"),
    outcome: "timeout",
    error: { status: 504, code: "prefill_timeout" },
  },
  {
    fault: "answers rubbish",
    prefill: (_, response) => answerJson(response, '<html>{"kv_transfer_params":{}}'),
    outcome: "malformed",
    error: { status: 502, code: "prefill_failed" },
  },
  {
    fault: "answers parameters that are no object",
    prefill: (_, response) => answerJson(response, '{"kv_transfer_params":[1]}'),
    outcome: "malformed",
    error: { status: 502, code: "prefill_failed" },
  },
  {
    fault: "answers broken parameters",
    prefill: (_, response) => answerJson(response, '{"kv_transfer_params":{"a":tru}}'),
    outcome: "malformed",
    error: { status: 502, code: "prefill_failed" },
  },
];

test.each(FAULTS)("when the prefill pod $fault, the local engine prefills", async ({ prefill, outcome }) => {
  const pod = await startPod(prefill);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [pod], deadline(outcome));
  const answer = await askSplit(sidecar, pod.address, { body: BODY });
  expect(answer.status).toBe(200);
  expect(decode.asked[0]!.body.toString()).toBe(BODY);
  expect(answer.headers["x-kv-transfer-time-ms"]).toBeUndefined();
  await untilIdle(sidecar);
  expect(await sidecar.metric("prefill_requests_total", { outcome })).toBe(1);
  expect(await sidecar.metric("decode_recomputes_total", { reason: "prefill_failed" })).toBe(1);
});

test.each(FAULTS)(
  "when the prefill pod $fault and failures are to be errors, the client gets it",
  async (row) => {
    const pod = await startPod(row.prefill);
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [pod], {
      prefillTimeout: "300ms",
      prefillFailure: "error",
    });
    const answer = await askSplit(sidecar, pod.address, { body: BODY });
    expect(answer.status).toBe(row.error.status);
    if (row.error.code) expect(answer.json.error?.code).toBe(row.error.code);
    expect(decode.asked).toHaveLength(0);
    await untilIdle(sidecar);
  },
);

test("a prefill pod that refuses connections is an unreachable one", async () => {
  const pod = await startPod(goodPrefill);
  await pod.close();
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [pod]);
  expect((await askSplit(sidecar, pod.address)).status).toBe(200);
  expect(await sidecar.metric("prefill_requests_total", { outcome: "unreachable" })).toBe(1);
  expect(await sidecar.metric("connection_errors_total", { leg: "prefill" })).toBe(1);
  await untilIdle(sidecar);
});

test("a request that the prefill pod finds wrong is answered with its answer", async () => {
  const pod = await startPod((_, response) => answerJson(response, '{"error":{"message":"too long"}}', 400));
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [pod]);
  const answer = await askSplit(sidecar, pod.address);
  expect(answer.status).toBe(400);
  expect(answer.body).toBe('{"error":{"message":"too long"}}');
  expect(decode.asked).toHaveLength(0);
  await untilIdle(sidecar);
});

async function unclaimedAfter(sidecar: SidecarForTest): Promise<number> {
  await untilIdle(sidecar);
  return sidecar.metric("unclaimed_transfers_total");
}

test("when the decode pod is not there after the prefill, the answer is 503 and the blocks are counted as held", async () => {
  const pod = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  await decode.close();
  const sidecar = await startTestSidecar(decode, [pod]);
  const answer = await askSplit(sidecar, pod.address);
  expect(answer.status).toBe(503);
  expect(answer.json.error).toMatchObject({ code: "decode_not_ready", type: "server_error" });
  expect(await unclaimedAfter(sidecar)).toBe(1);
});

test("when the decode pod closes without an answer, it is 502", async () => {
  const pod = await startPod(goodPrefill);
  const decode = await startPod((_, response) => response.destroy());
  const sidecar = await startTestSidecar(decode, [pod]);
  const answer = await askSplit(sidecar, pod.address);
  expect(answer.status).toBe(502);
  expect(answer.json.error?.code).toBe("decode_failed");
  expect(await unclaimedAfter(sidecar)).toBe(1);
});

test("when the decode pod dies in the middle of a stream, the client's connection breaks as well", async () => {
  const pod = await startPod(goodPrefill);
  const decode = await startPod((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n", () => response.destroy());
  });
  const sidecar = await startTestSidecar(decode, [pod]);
  const answer: Answer = await askSplit(sidecar, pod.address);
  expect(answer.status).toBe(200);
  expect(answer.broken).toBe(true);
  expect(await unclaimedAfter(sidecar)).toBe(0);
  expect(await sidecar.metric("connection_errors_total", { leg: "decode" })).toBe(1);
});

test("an error of the decode pod is passed on, and the blocks are counted as held", async () => {
  const pod = await startPod(goodPrefill);
  const decode = await startPod((_, response) => answerJson(response, '{"error":"kv load failed"}', 500));
  const sidecar = await startTestSidecar(decode, [pod]);
  const answer = await askSplit(sidecar, pod.address);
  expect(answer.status).toBe(500);
  expect(answer.body).toBe('{"error":"kv load failed"}');
  expect(await unclaimedAfter(sidecar)).toBe(1);
});

test("a client that leaves during prefill cancels it, and no decode starts", async () => {
  const pod = await startPod(hang);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [pod]);
  const left = askSplit(sidecar, pod.address, {
    onRequest: (request) =>
      void until(() => pod.asked.length === 1, "prefill asked").then(() => request.destroy()),
  });
  await expect(left).rejects.toThrow();
  await until(() => pod.left === 1, "the prefill pod sees the client leave");
  await untilIdle(sidecar);
  expect(decode.asked).toHaveLength(0);
  expect(await sidecar.metric("prefill_requests_total", { outcome: "client_gone" })).toBe(1);
  expect(await sidecar.metric("requests_total", { status: "499" })).toBe(1);
});

test("a client that leaves during a stream cancels the decode", async () => {
  const pod = await startPod(goodPrefill);
  const decode = await startPod((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
  });
  const sidecar = await startTestSidecar(decode, [pod]);
  const answer = await askSplit(sidecar, pod.address, {
    onResponse: (response, request) => response.once("data", () => request.destroy()),
  });
  expect(answer.broken).toBe(true);
  await until(() => decode.left === 1, "the decode pod sees the client leave");
  await untilIdle(sidecar);
});

test("a client that leaves before its body is whole leaves nothing behind", async () => {
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, []);
  const left = ask(sidecar, {
    headers: { "content-type": "application/json", "content-length": 100 },
    onRequest: (request) => {
      request.write("{");
      request.on("socket", (socket) => socket.on("connect", () => setTimeout(() => request.destroy(), 50)));
    },
  });
  await expect(left).rejects.toThrow();
  await untilIdle(sidecar);
  expect(decode.asked).toHaveLength(0);
});
