// What clients and gateways may not do.
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseTarget } from "../../sidecar/prefiller.js";
import { goodDecode, goodPrefill, startPod } from "./pods.js";
import { ask, askSplit, startTestSidecar, testFolder, until } from "./sidecar-for-test.js";

describe("a prefill pod", () => {
  test("that is not of the pool is refused with 403, logged and counted", async () => {
    const stranger = await startPod(goodPrefill);
    const prefill = await startPod(goodPrefill);
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [prefill]);
    const answer = await askSplit(sidecar, "10.9.9.9:8000");
    expect(answer.status).toBe(403);
    expect(answer.json.error?.code).toBe("prefiller_not_allowed");
    // The right host with another port, which listens.
    expect((await askSplit(sidecar, stranger.address)).status).toBe(403);
    expect((await askSplit(sidecar, `${prefill.address},${stranger.address}`)).status).toBe(403);
    expect(stranger.asked).toHaveLength(0);
    expect(decode.asked).toHaveLength(0);
    expect(await sidecar.metric("ssrf_blocked_requests_total")).toBe(3);
    const logged = sidecar.records.filter((one) => one.why === "not in the allowlist");
    expect(logged).toHaveLength(1);
    expect(logged[0]).toMatchObject({ prefiller: "10.9.9.9:8000" });
  });

  test.each([
    "127.0.0.1",
    "127.0.0.1:",
    ":8000",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:8000/path",
    "127.0.0.1:8000?a=b",
    "127.0.0.1:8000#x",
    "user@127.0.0.1:8000",
    "127.0.0.1:8000 HTTP/1.1",
    "127.0.0.1:8000%0d%0aX-Evil: 1",
    "127.0.0.1\t:8000",
    "ftp://127.0.0.1:8000",
    "http://http://127.0.0.1:8000",
    "127.1:8000",
    "2130706433:8000",
    "[::1:8000",
    "[zz::1]:8000",
    "a..b:80",
    "\u00e9.example:80",
    ",",
  ])("written as %j is refused with 400 and dialled by no one", async (value) => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { enableSsrfProtection: "false" });
    const answer = await askSplit(sidecar, value);
    expect(answer.status).toBe(400);
    expect(answer.json.error?.code).toBe("invalid_prefiller");
    expect(await sidecar.metric("ssrf_blocked_requests_total")).toBe(1);
    expect(decode.asked).toHaveLength(0);
  });

  test("with line breaks in its name is no target", () => {
    expect(parseTarget("127.0.0.1:8000\r\nX-Evil: 1")).toBeNull();
    expect(parseTarget("127.0.0.1\n:8000")).toBeNull();
    expect(parseTarget("127.0.0.1:8000\n")).toBeNull();
  });

  test("has one canonical name, however it is written", () => {
    expect(parseTarget("http://Pod-1.Example:8000/")?.authority).toBe("pod-1.example:8000");
    expect(parseTarget("[0:0:0:0:0:0:0:1]:8000")?.authority).toBe("[::1]:8000");
  });

  test("may be added to and taken from the file while the sidecar runs", async () => {
    const allowlistFile = join(testFolder(), "prefillers");
    const prefill = await startPod(goodPrefill);
    const decode = await startPod(goodDecode);
    writeFileSync(allowlistFile, "# none yet\n");
    const sidecar = await startTestSidecar(decode, [], { allowlistFile });
    expect((await askSplit(sidecar, prefill.address)).status).toBe(403);
    const replace = (text: string) => {
      writeFileSync(`${allowlistFile}.new`, text);
      renameSync(`${allowlistFile}.new`, allowlistFile);
    };
    replace(`${prefill.address} # the one\n`);
    await until(
      async () => (await askSplit(sidecar, prefill.address)).status === 200,
      "the new entry counts",
    );
    replace("not a pod\n");
    await until(
      () => sidecar.records.some((one) => /not readable/.test(String(one.msg))),
      "the mistake is logged",
    );
    expect((await askSplit(sidecar, prefill.address)).status).toBe(200);
    replace("");
    await until(async () => (await askSplit(sidecar, prefill.address)).status === 403, "the entry is gone");
  });

  test("is refused whoever it is when no list was given", async () => {
    const prefill = await startPod(goodPrefill);
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { allowlistFile: "" });
    expect((await askSplit(sidecar, prefill.address)).status).toBe(403);
    expect((await ask(sidecar, { body: "{}" })).status).toBe(200);
  });

  test("may be anyone when protection is off, which is said in the log", async () => {
    const prefill = await startPod(goodPrefill);
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { enableSsrfProtection: "false" });
    expect((await askSplit(sidecar, prefill.address)).status).toBe(200);
    expect(sidecar.records.some((one) => /SSRF protection is off/.test(String(one.msg)))).toBe(true);
  });
});

describe("a reserved field of a client", () => {
  test.each([
    ["kv_transfer_params", '{"kv_transfer_params":{"remote_host":"evil"}}'],
    ["kv_transfer_params", '{"kv_transfer_params":null}'],
    ["kv_transfer_params", '{"prompt":"a","\\u006bv_transfer_params":{}}'],
    ["kv_transfer_params", '{"\\u006b\\u0076_transfer\\u005Fparams":1}'],
    ["ec_transfer_params", '{"ec_transfer_params":{}}'],
    ["bootstrap_host", '{"bootstrap_host":"evil"}'],
    ["bootstrap_port", '{"a":1,"bootstrap_port":1}'],
    ["bootstrap_room", '{"bootstrap_room":1}'],
    ["cache_hit_threshold", '{"cache_hit_threshold":0.5}'],
    ["vllm_xargs.kv_transfer_params", '{"vllm_xargs":{"kv_transfer_params":"x"}}'],
    [
      "sampling_params.extra_args.kv_transfer_params",
      '{"sampling_params":{"extra_args":{"kv_transfer_params":{"remote_host":"evil"}}}}',
    ],
  ])("%s in %j is refused on every path, with and without a prefill pod", async (field, body) => {
    const prefill = await startPod(goodPrefill);
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [prefill]);
    for (const path of ["/v1/chat/completions", "/v1/%63ompletions", "/invocations"]) {
      const answer = await askSplit(sidecar, prefill.address, { path, body });
      expect(answer.status).toBe(400);
      expect(answer.json.error).toMatchObject({ code: "reserved_field", type: "invalid_request_error" });
      expect(answer.json.error?.message).toContain(field);
      expect((await ask(sidecar, { path, body })).status).toBe(400);
    }
    expect(prefill.asked.length + decode.asked.length).toBe(0);
    expect(await sidecar.metric("reserved_field_requests_total")).toBe(6);
  });

  test("may stand inside other values", async () => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, []);
    const body = '{"prompt":"\\"kv_transfer_params\\":{}","metadata":{"kv_transfer_params":1}}';
    expect((await ask(sidecar, { body })).status).toBe(200);
  });

  test("is taken out under the policy strip, all else byte for byte", async () => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { reservedFields: "strip" });
    const body =
      '{"kv_transfer_params":{}, "a":9007199254740993,"\\u006bv_transfer_params":2,"vllm_xargs":{"x":1,"kv_transfer_params":"y"}}';
    expect((await ask(sidecar, { body })).status).toBe(200);
    expect(decode.asked[0]!.body.toString()).toBe('{"a":9007199254740993,"vllm_xargs":{"x":1}}');
  });

  test("passes under the policy allow", async () => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { reservedFields: "allow" });
    const body = '{"kv_transfer_params":{"a":1}}';
    expect((await ask(sidecar, { body })).status).toBe(200);
    expect(decode.asked[0]!.body.toString()).toBe(body);
  });

  test.each(["{", "[]", "\ufeff{}", Buffer.from('{"kv_transfer_params":{}}', "utf16le")])(
    "cannot hide in a body that is not one UTF-8 JSON object",
    async (body) => {
      const decode = await startPod(goodDecode);
      const sidecar = await startTestSidecar(decode, []);
      const answer = await ask(sidecar, { path: "/v1/%63ompletions", body });
      expect(answer.status).toBe(400);
      expect(answer.json.error?.code).toBe("malformed_json");
    },
  );

  test("cannot hide behind an encoding or a missing content type", async () => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, []);
    const body = '{"kv_transfer_params":{}}';
    const encoded = await ask(sidecar, { body, headers: { "content-encoding": "gzip" } });
    expect(encoded.status).toBe(415);
    const other = {
      path: "/x",
      body,
      headers: { connection: "content-type", "content-type": "application/JSON" },
    };
    expect((await ask(sidecar, other)).status).toBe(400);
    expect(decode.asked).toHaveLength(0);
  });
});

describe("a body over the limit", () => {
  const large = `{"prompt":"${"a".repeat(5000)}"}`;

  test.each([
    ["with a length", {}],
    ["in chunks", { "transfer-encoding": "chunked" }],
    ["that is no JSON, with a length", { "content-type": "multipart/form-data; boundary=x" }],
    ["that is no JSON, in chunks", { "content-type": "audio/wav", "transfer-encoding": "chunked" }],
  ])("%s gets 413", async (_, headers) => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { maxBodyBytes: "4096" });
    const path = "content-type" in headers ? "/v1/audio/transcriptions" : "/v1/completions";
    const answer = await ask(sidecar, { path, body: large, headers });
    expect(answer.status).toBe(413);
    expect(answer.json.error?.code).toBe("body_too_large");
    expect((await ask(sidecar, { body: "{}" })).status).toBe(200);
    expect(decode.asked.map((one) => one.body.toString())).toEqual(["{}"]);
  });
});
