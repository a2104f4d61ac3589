// Flags, ports of ranks, and TLS on both sides.
import { writeFileSync } from "node:fs";
import https from "node:https";
import { join } from "node:path";
import type { connect } from "node:tls";
import { describe, expect, test } from "vitest";
import { ConfigError, StartError } from "../../agent/errors.js";
import { sidecarCommand } from "../../sidecar/cli-command.js";
import { type RawFlags, readOptions } from "../../sidecar/options.js";
import { selfSignedCertificate } from "../../sidecar/self-signed.js";
import { type Behaviour, goodDecode, goodPrefill, type Pod, startPod } from "./pods.js";
import {
  ask,
  askSplit,
  type SidecarForTest,
  startTestSidecar,
  testFolder,
  until,
} from "./sidecar-for-test.js";

async function optionsOf(args: string[], env: NodeJS.ProcessEnv = {}) {
  let seen: RawFlags = {};
  const command = sidecarCommand().exitOverride();
  command.configureOutput({ writeErr: () => {} });
  command.action((flags: RawFlags) => {
    seen = flags;
  });
  await command.parseAsync(args, { from: "user" });
  return readOptions(seen, env);
}

describe("flags", () => {
  test("have the field's defaults", async () => {
    expect(await optionsOf([])).toMatchObject({
      port: 8000,
      enginePort: 8001,
      connector: "nixlv2",
      secureProxy: true,
      ssrfProtection: true,
      prefillFailure: "fallback",
      prefillerPools: 16,
      dataParallelSize: 1,
    });
  });

  test("may have one dash, as Go writes them, or two", async () => {
    const go = "-port 9000 -vllm-port=9001 -connector lmcache -secure-proxy=false -prefiller-use-tls -v=5";
    expect(await optionsOf(go.split(" "))).toMatchObject({
      port: 9000,
      enginePort: 9001,
      connector: "lmcache",
      secureProxy: false,
      prefillerTls: true,
      decoderTls: false,
    });
    const newer =
      "--kv-connector mooncake --model-server-port 8200 --enable-tls decoder --tls-insecure-skip-verify decoder,prefiller";
    expect(await optionsOf(newer.split(" "))).toMatchObject({
      connector: "mooncake",
      enginePort: 8200,
      decoderTls: true,
      decoderInsecure: true,
      prefillerInsecure: true,
      prefillerTls: false,
    });
  });

  test("come before the environment", async () => {
    const env = {
      INFERENCE_POOL_NAMESPACE: "llm-d",
      INFERENCE_POOL_NAME: "pool",
      SGLANG_BOOTSTRAP_PORT: "9999",
    };
    expect(await optionsOf([], env)).toMatchObject({
      inferencePool: "llm-d/pool",
      sglangBootstrapPort: 9999,
    });
    expect(await optionsOf(["--inference-pool", "a/b"], env)).toMatchObject({ inferencePool: "a/b" });
    expect(await optionsOf([], { INFERENCE_POOL: "x" })).toMatchObject({ inferencePool: "default/x" });
  });

  test.each([
    [["--port", "80x"], "--port 80x"],
    [["--connector", "nixlv9"], "--connector nixlv9"],
    [["--prefill-timeout", "5"], "--prefill-timeout 5"],
    [["--enable-tls", "encoder"], "--enable-tls encoder"],
    [["--secure-proxy=maybe"], "--secure-proxy maybe"],
    [["--data-parallel-size", "0"], "--data-parallel-size 0"],
  ])("that are wrong are named: %j", async (args, named) => {
    await expect(optionsOf(args)).rejects.toThrow(ConfigError);
    await expect(optionsOf(args)).rejects.toThrow(named);
  });

  test("of files that are not there are mistakes of the configuration", async () => {
    const decode = { port: 1 };
    await expect(startTestSidecar(decode, [], { allowlistFile: "missing" })).rejects.toThrow(ConfigError);
    await expect(startTestSidecar(decode, [], { caFile: "missing" })).rejects.toThrow(ConfigError);
    const tls = { secureProxy: "true", certPath: "missing" };
    await expect(startTestSidecar(decode, [], tls)).rejects.toThrow(ConfigError);
    await expect(startTestSidecar(decode, [{ address: "no port" }])).rejects.toThrow(
      /:1: "no port" must be host:port/,
    );
  });

  test("of a port in use say so", async () => {
    const decode = await startPod(goodDecode);
    const start = startTestSidecar(decode, [], { port: String(decode.port) });
    await expect(start).rejects.toThrow(StartError);
  });
});

// Two pods on ports that follow each other.
async function neighbours(behave: Behaviour): Promise<[Pod, Pod]> {
  for (;;) {
    const first = await startPod(behave);
    try {
      return [first, await startPod(behave, undefined, first.port + 1)];
    } catch {
      await first.close();
    }
  }
}

test("each data-parallel rank has a port of its own, and the header may name another", async () => {
  const engines = await neighbours(goodDecode);
  const free = await neighbours(goodDecode);
  await Promise.all(free.map((pod) => pod.close()));
  const flags = { port: String(free[0].port), dataParallelSize: "2" };
  const sidecar = await startTestSidecar(engines[0], [], flags);
  expect(sidecar.ports).toEqual(free.map((pod) => pod.port));
  await ask(sidecar, { body: "{}" }, 0);
  await ask(sidecar, { body: "{}" }, 1);
  expect(engines.map((engine) => engine.asked.length)).toEqual([1, 1]);
  const named = (port: number) =>
    ask(sidecar, { body: "{}", headers: { "x-data-parallel-host-port": `127.0.0.1:${port}` } });
  expect((await named(sidecar.ports[1]!)).status).toBe(200);
  expect(engines.map((engine) => engine.asked.length)).toEqual([1, 2]);
  expect(engines[1].asked[1]!.headers["x-data-parallel-host-port"]).toBeUndefined();
  const unknown = await named(sidecar.ports[1]! + 1);
  expect(unknown.status).toBe(400);
  expect(unknown.json.error?.code).toBe("unknown_data_parallel_rank");
});

function askTls(sidecar: SidecarForTest): Promise<{ status: number; fingerprint: string }> {
  return new Promise((resolve, reject) => {
    const request = https.request(
      { port: sidecar.ports[0], path: "/health", rejectUnauthorized: false, agent: false },
      (response) => {
        const { fingerprint256 } = (response.socket as ReturnType<typeof connect>).getPeerCertificate();
        response.resume();
        response.on("end", () => resolve({ status: response.statusCode!, fingerprint: fingerprint256 }));
      },
    );
    request.on("error", reject);
    request.end();
  });
}

describe("TLS", () => {
  test("is spoken with a certificate signed by itself when none is given", async () => {
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [], { secureProxy: "true" });
    expect((await askTls(sidecar)).status).toBe(200);
  });

  test("is spoken with the folder's certificate, and with the next one after it was replaced", async () => {
    const decode = await startPod(goodDecode);
    const certPath = testFolder();
    const install = () => {
      const { cert, key } = selfSignedCertificate();
      writeFileSync(join(certPath, "tls.crt"), cert);
      writeFileSync(join(certPath, "tls.key"), key);
    };
    install();
    const sidecar = await startTestSidecar(decode, [], { secureProxy: "true", certPath });
    const before = await askTls(sidecar);
    writeFileSync(join(certPath, "tls.crt"), "half written");
    await until(
      () => sidecar.records.some((one) => /not usable yet/.test(String(one.msg))),
      "the bad pair is seen",
    );
    expect((await askTls(sidecar)).fingerprint).toBe(before.fingerprint);
    install();
    await until(
      async () => (await askTls(sidecar)).fingerprint !== before.fingerprint,
      "the new certificate",
    );
  });

  test("towards pods needs a certificate that can be verified, unless told otherwise", async () => {
    const pair = selfSignedCertificate("localhost");
    const prefill = await startPod(goodPrefill, pair);
    const decode = await startPod(goodDecode, pair);
    const tls = { enableTls: "prefiller,decoder" };
    const strict = await startTestSidecar(decode, [prefill], tls);
    expect((await ask(strict, { body: "{}" })).status).toBe(502);
    const lenient = await startTestSidecar(decode, [prefill], {
      ...tls,
      tlsInsecureSkipVerify: "prefiller,decoder",
    });
    expect((await askSplit(lenient, prefill.address)).status).toBe(200);
    expect(prefill.asked).toHaveLength(1);
    expect(decode.asked[0]!.json.kv_transfer_params).toBeDefined();
  });

  test("towards pods takes certificates of the given authority, also of one that came later", async () => {
    const pair = selfSignedCertificate("localhost");
    const localhost = (pod: Pod) => ({ ...pod, address: `localhost:${pod.port}` });
    const prefill = localhost(await startPod(goodPrefill, pair));
    const decode = await startPod(goodDecode, pair);
    const caFile = join(testFolder(), "ca.crt");
    writeFileSync(caFile, selfSignedCertificate().cert);
    const flags = { enableTls: "prefiller,decoder", caFile, modelServerHost: "localhost" };
    const sidecar = await startTestSidecar(decode, [prefill], flags);
    expect((await askSplit(sidecar, prefill.address)).status).toBe(502);
    writeFileSync(caFile, pair.cert);
    await until(async () => (await askSplit(sidecar, prefill.address)).status === 200, "the new authority");
    await until(() => prefill.asked.length > 0, "the prefill pod is trusted as well");
  });
});
