// Streams: events as they come, back-pressure, draining, and how many pools stay open.
import type { IncomingMessage, ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { goodDecode, goodPrefill, startPod } from "./pods.js";
import { ask, askSplit, startTestSidecar, until, untilIdle } from "./sidecar-for-test.js";

function eventStream(response: ServerResponse): ServerResponse {
  return response.writeHead(200, { "content-type": "text/event-stream" });
}

test("each event reaches the client before the next one is made", async () => {
  let stream: ServerResponse | null = null;
  const prefill = await startPod(goodPrefill);
  const decode = await startPod((_, response) => {
    stream = eventStream(response);
    stream.write("data: 0\n\n");
  });
  const sidecar = await startTestSidecar(decode, [prefill]);
  let seen = "";
  const answer = await askSplit(sidecar, prefill.address, {
    onResponse: (response) =>
      response.on("data", (chunk: Buffer) => {
        seen += chunk;
        const count = seen.split("\n\n").length - 1;
        if (count < 4) stream!.write(`data: ${count}\n\n`);
        else stream!.end();
      }),
  });
  expect(answer.body).toBe("data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n");
  await untilIdle(sidecar);
});

test("a client that does not read slows the engine down instead of filling the sidecar's memory", async () => {
  const chunk = Buffer.alloc(64 << 10, "x");
  const total = 64 << 20;
  let written = 0;
  const decode = await startPod((_, response) => {
    eventStream(response);
    const more = () => {
      while (written < total) {
        written += chunk.length;
        if (!response.write(chunk)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  });
  const sidecar = await startTestSidecar(decode, []);
  let paused: IncomingMessage | null = null;
  const answer = ask(sidecar, {
    body: "{}",
    onResponse: (response) => {
      paused = response;
      setImmediate(() => response.pause());
    },
  });
  await until(() => paused !== null, "the answer's head");
  let last = -1;
  await until(async () => {
    const still = written === last;
    last = written;
    await new Promise((done) => setTimeout(done, 200));
    return still && written > 0;
  }, "the engine waits");
  expect(written).toBeLessThan(total / 2);
  paused!.resume();
  expect((await answer).body.length).toBe(total);
});

test("a draining sidecar ends what it has and takes nothing more", async () => {
  let stream: ServerResponse | null = null;
  const decode = await startPod((_, response) => {
    stream = eventStream(response);
    stream.write("data: 1\n\n");
  });
  const sidecar = await startTestSidecar(decode, []);
  expect((await ask(sidecar, { method: "GET", path: "/health" })).status).toBe(200);
  const answer = ask(sidecar, { body: "{}", headers: { connection: "keep-alive" } });
  await until(() => stream !== null, "the stream runs");
  const closed = sidecar.close();
  await expect(ask(sidecar, { body: "{}" })).rejects.toThrow();
  stream!.end("data: 2\n\n");
  expect((await answer).body).toBe("data: 1\n\ndata: 2\n\n");
  await closed;
});

test("a drain that takes too long cuts what still runs", async () => {
  const decode = await startPod((_, response) => void eventStream(response).write("data: 1\n\n"));
  const sidecar = await startTestSidecar(decode, [], { drainTimeout: "50ms" });
  const answer = ask(sidecar, { body: "{}" });
  await until(() => decode.asked.length === 1, "the stream runs");
  await sidecar.close();
  expect((await answer).broken).toBe(true);
  expect(sidecar.records.some((one) => /drain timeout/.test(String(one.msg)))).toBe(true);
});

test("connections to a prefill pod are used again, and those of the least used pod go", async () => {
  const prefills = await Promise.all([1, 2, 3].map(() => startPod(goodPrefill)));
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, prefills, { prefillerPools: "2" });
  const [first, second, third] = prefills.map((pod) => pod.address) as [string, string, string];
  for (const address of [first, second, first, second, first]) {
    expect((await askSplit(sidecar, address)).status).toBe(200);
  }
  expect(prefills.map((pod) => pod.connections)).toEqual([1, 1, 0]);
  // The second pod is now the least recently used.
  for (const address of [third, first, second]) expect((await askSplit(sidecar, address)).status).toBe(200);
  expect(prefills.map((pod) => pod.connections)).toEqual([1, 2, 1]);
  const metrics = (await ask(sidecar, { method: "GET", path: "/metrics" })).body;
  expect(metrics).toContain("llmd_sidecar_prefiller_pools 2");
});

test("metrics are the sidecar's, and after them the engine's", async () => {
  const decode = await startPod((asked, response) => {
    expect(asked.url).toBe("/metrics");
    response.end("vllm:num_requests_running 3\n");
  });
  const sidecar = await startTestSidecar(decode, [{ address: "10.0.0.1:8000" }]);
  const both = await ask(sidecar, { method: "GET", path: "/metrics" });
  expect(both.body).toContain("llmd_sidecar_allowlist_size 1\n");
  expect(both.body).toMatch(/\nvllm:num_requests_running 3\n$/);
  expect((await ask(sidecar, { method: "GET", path: "/vllm/metrics" })).body).toBe(
    "vllm:num_requests_running 3\n",
  );
  await decode.close();
  const own = await ask(sidecar, { method: "GET", path: "/metrics" });
  expect(own.status).toBe(200);
  expect(own.body).not.toContain("vllm:num_requests_running");
});

test("methods, queries, and bodies that are no JSON pass untouched", async () => {
  const decode = await startPod((asked, response) => {
    response.writeHead(200, "fine", { "set-cookie": ["a=1", "b=2"], "x-method": asked.method });
    response.end(asked.method === "HEAD" ? undefined : asked.body);
  });
  const sidecar = await startTestSidecar(decode, []);
  const audio = Buffer.from([0, 255, 123, 34, 10]);
  const sent = await ask(sidecar, {
    path: "/v1/audio/transcriptions?x=%20",
    body: audio,
    headers: { "content-type": "audio/wav" },
  });
  expect(sent.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
  expect(decode.asked[0]!.body).toEqual(audio);
  expect(decode.asked[0]!.url).toBe("/v1/audio/transcriptions?x=%20");
  const chunked = { "content-type": "audio/wav", "transfer-encoding": "chunked" };
  expect((await ask(sidecar, { path: "/x", body: audio, headers: chunked })).status).toBe(200);
  expect(decode.asked[1]!.body).toEqual(audio);
  for (const method of ["GET", "HEAD", "DELETE", "PUT"]) {
    expect((await ask(sidecar, { method, path: "/v1/models" })).headers["x-method"]).toBe(method);
  }
});
