// The allowlist that follows an InferencePool and its pods.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConfigError } from "../../agent/errors.js";
import { inClusterAccess, type KubeAccess } from "../../sidecar/kube-api.js";
import { poolAllowlist } from "../../sidecar/pool-allowlist.js";
import { parseTarget } from "../../sidecar/prefiller.js";
import { selfSignedCertificate } from "../../sidecar/self-signed.js";
import { KubeServer } from "./kube-server.js";
import { goodDecode, goodPrefill, startPod } from "./pods.js";
import { ask, askSplit, recordingLog, startTestSidecar, testFolder, until } from "./sidecar-for-test.js";

const V1 = "/apis/inference.networking.k8s.io/v1/namespaces/llm-d/inferencepools";
const ALPHA = "/apis/inference.networking.x-k8s.io/v1alpha2/namespaces/llm-d/inferencepools";
const PODS = "/api/v1/namespaces/llm-d/pods";
const LABELS = { app: "vllm", "llm-d.ai/inferenceServing": "true" };

const v1Pool = (matchLabels: object, ...ports: number[]) => ({
  spec: { selector: { matchLabels }, targetPorts: ports.map((number) => ({ number })) },
});
const pod = (ip: string, phase = "Running") => ({ status: { phase, podIP: ip, podIPs: [{ ip }] } });

function follow(kube: KubeServer, access: Partial<KubeAccess> = {}) {
  const { log, records } = recordingLog();
  const list = poolAllowlist(
    "llm-d/pool",
    { origin: kube.origin, token: () => kube.token, ca: () => null, ...access },
    log,
  );
  onTestFinished(() => list.close());
  const allows = (authority: string) => list.allows(parseTarget(authority)!);
  return { list, records, allows };
}

/** What every healthy informer here has open. */
const watching = (kube: KubeServer) => () =>
  [PODS, V1, ALPHA].every((path) => kube.openWatches.includes(path));

describe("the allowlist of an InferencePool", () => {
  test("holds each pod that the pool selects, with each of its target ports and no other", async () => {
    const kube = await KubeServer.start();
    kube.put(V1, "pool", v1Pool(LABELS, 8000, 8001));
    kube.put(V1, "other", v1Pool({ app: "other" }, 9000));
    kube.put(PODS, "p-0", pod("10.0.0.1"), LABELS);
    kube.put(PODS, "p-1", { status: { podIPs: [{ ip: "10.0.0.2" }, { ip: "fd00::2" }] } }, LABELS);
    kube.put(PODS, "half", pod("10.0.0.3"), { app: "vllm" });
    kube.put(PODS, "ended", pod("10.0.0.4", "Failed"), LABELS);
    kube.put(PODS, "pending", { status: { phase: "Pending" } }, LABELS);
    const { list, allows } = follow(kube);
    await until(() => list.size > 0, "a first list");
    expect(list.size).toBe(6);
    for (const one of ["10.0.0.1:8000", "10.0.0.1:8001", "10.0.0.2:8000", "[fd00::2]:8001"])
      expect([one, allows(one)]).toEqual([one, true]);
    for (const one of ["10.0.0.1:9000", "10.0.0.3:8000", "10.0.0.4:8000", "p-0:8000"])
      expect([one, allows(one)]).toEqual([one, false]);
    expect(kube.mistakes).toEqual([]);
  });

  test("leaves out pods whose label says that they do not prefill, and follows a label that changes", async () => {
    const kube = await KubeServer.start();
    kube.put(V1, "pool", v1Pool(LABELS, 8000));
    const roles = [
      "prefill",
      "prefill-decode",
      "encode-prefill",
      "both",
      "decode",
      "encode",
      "encode-decode",
    ];
    roles.forEach((role, i) => {
      kube.put(PODS, `p-${i}`, pod(`10.0.0.${i}`), { ...LABELS, "llm-d.ai/role": role });
    });
    kube.put(PODS, "unlabelled", pod("10.0.1.1"), LABELS);
    const { list, allows } = follow(kube);
    await until(() => list.size === 5, "those that prefill");
    expect(roles.filter((_, i) => allows(`10.0.0.${i}:8000`))).toEqual(roles.slice(0, 4));
    expect(allows("10.0.1.1:8000")).toBe(true);
    await until(watching(kube), "every watch");
    kube.put(PODS, "p-0", pod("10.0.0.0"), { ...LABELS, "llm-d.ai/role": "decode" });
    await until(() => !allows("10.0.0.0:8000"), "the pod that decodes now");
    expect(list.size).toBe(4);
  });

  test("reads the older spelling where the newer is not installed", async () => {
    const kube = await KubeServer.start();
    kube.missing.add(V1);
    kube.put(ALPHA, "pool", { spec: { selector: LABELS, targetPortNumber: 8200 } });
    kube.put(PODS, "p-0", pod("10.0.0.1"), LABELS);
    const { list, allows } = follow(kube);
    await until(() => list.size === 1, "the pod");
    expect(allows("10.0.0.1:8200")).toBe(true);
    expect(kube.mistakes).toEqual([]);
  });

  test("follows pods that come, change and go, and a pool that changes or goes, by watching alone", async () => {
    const kube = await KubeServer.start();
    kube.put(V1, "pool", v1Pool(LABELS, 8000));
    const { list, allows, records } = follow(kube);
    await until(watching(kube), "every watch");
    expect(list.unsynced).toBeNull();
    kube.put(PODS, "p-0", { status: {} }, LABELS);
    kube.put(PODS, "p-0", pod("10.0.0.1"), LABELS);
    await until(() => allows("10.0.0.1:8000"), "the new pod");
    kube.put(V1, "pool", v1Pool(LABELS, 8100));
    await until(() => allows("10.0.0.1:8100"), "the new port");
    expect(list.size).toBe(1);
    kube.remove(PODS, "p-0");
    await until(() => list.size === 0, "no pod");
    const lists = kube.asked.filter((one) => !one.includes("watch=1"));
    expect(lists).toHaveLength(3);
    kube.put(PODS, "q-0", pod("10.0.0.9"), { app: "next" });
    kube.put(V1, "pool", v1Pool({ app: "next" }, 8000));
    await until(() => allows("10.0.0.9:8000"), "the pod of the new selector");
    kube.remove(V1, "pool");
    await until(() => list.unsynced === "there is no InferencePool llm-d/pool", "the pool is gone");
    expect(list.size).toBe(0);
    await until(() => !kube.openWatches.includes(PODS), "nobody watches the pods");
    expect(records.some((one) => one.why === list.unsynced)).toBe(true);
    expect(kube.mistakes).toEqual([]);
  });

  test("goes on from the version it has seen when a watch breaks, and misses nothing", async () => {
    const kube = await KubeServer.start();
    kube.put(V1, "pool", v1Pool(LABELS, 8000));
    kube.put(PODS, "p-0", pod("10.0.0.1"), LABELS);
    const { list, allows } = follow(kube);
    await until(watching(kube), "every watch");
    kube.broken = 503;
    kube.cut();
    kube.remove(PODS, "p-0");
    kube.put(PODS, "p-1", pod("10.0.0.2"), LABELS);
    const asked = kube.asked.length;
    await until(() => kube.asked.length > asked + 3, "further tries");
    expect(allows("10.0.0.1:8000")).toBe(true);
    kube.broken = null;
    await until(() => allows("10.0.0.2:8000"), "the missed pod");
    expect(list.size).toBe(1);
    expect(kube.asked.filter((one) => one.startsWith(PODS) && !one.includes("watch=1"))).toHaveLength(1);
  });

  test("lists again, page by page, when the version is too old", async () => {
    const kube = await KubeServer.start();
    kube.pageSize = 2;
    kube.put(V1, "pool", v1Pool(LABELS, 8000));
    for (let i = 1; i <= 5; i++) kube.put(PODS, `p-${i}`, pod(`10.0.0.${i}`), LABELS);
    const { list, allows } = follow(kube);
    await until(() => list.size === 5, "three pages");
    await until(watching(kube), "every watch");
    kube.broken = 500;
    kube.cut();
    kube.remove(PODS, "p-1");
    kube.compact();
    kube.broken = null;
    await until(() => list.size === 4, "the new list");
    expect(allows("10.0.0.1:8000")).toBe(false);
    expect(kube.asked.filter((one) => one.startsWith(PODS) && one.includes("continue="))).toHaveLength(3);
    expect(kube.mistakes).toEqual([]);
  });

  test.each([
    ["selects every pod", v1Pool({}, 8000)],
    ["names no port", v1Pool(LABELS)],
  ])("is empty for a pool that %s", async (_, pool) => {
    const kube = await KubeServer.start();
    kube.put(V1, "pool", pool);
    kube.put(PODS, "p-0", pod("10.0.0.1"), LABELS);
    const { list } = follow(kube);
    await until(() => /no label or has no target port/.test(list.unsynced ?? ""), "the refusal");
    expect(list.size).toBe(0);
    expect(kube.asked.some((one) => one.startsWith(PODS))).toBe(false);
  });

  test("reads the renewed token and trusts the account's certificate alone", async () => {
    const tls = selfSignedCertificate("localhost");
    const folder = testFolder();
    const kube = await KubeServer.start(tls);
    kube.put(V1, "pool", v1Pool(LABELS, 8000));
    kube.put(PODS, "p-0", pod("10.0.0.1"), LABELS);
    writeFileSync(join(folder, "token"), "old-token\n");
    writeFileSync(join(folder, "ca.crt"), selfSignedCertificate("localhost").cert);
    const { origin } = kube;
    const port = new URL(origin).port;
    const env = { KUBERNETES_SERVICE_HOST: "localhost", KUBERNETES_SERVICE_PORT: port };
    const { list } = follow(kube, inClusterAccess(env, folder));
    await until(() => /certificate|signature/.test(list.unsynced ?? ""), "a distrusted server");
    expect(kube.asked).toEqual([]);
    writeFileSync(join(folder, "ca.crt"), tls.cert);
    await until(() => /401/.test(list.unsynced ?? ""), "a refused token");
    writeFileSync(join(folder, "token"), `${kube.token}\n`);
    await until(() => list.size === 1, "the pod");
  });

  test("needs a cluster, or says what to give instead", () => {
    expect(() => inClusterAccess({})).toThrow(ConfigError);
    expect(() => inClusterAccess({})).toThrow("--allowlist-file");
  });
});

test("a sidecar refuses every prefill pod until its pool is read, says why, and tells the size", async () => {
  const kube = await KubeServer.start();
  kube.broken = 403;
  const prefill = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  kube.put(V1, "pool", v1Pool(LABELS, prefill.port));
  kube.put(PODS, "p-0", pod("127.0.0.1"), LABELS);
  const { list, records } = follow(kube);
  const sidecar = await startTestSidecar(decode, [], {}, list);
  const size = async () => {
    const { body } = await ask(sidecar, { path: "/metrics", method: "GET" });
    return Number(/^llmd_sidecar_allowlist_size (\d+)$/m.exec(body)?.[1]);
  };
  const early = await askSplit(sidecar, prefill.address);
  expect(early.status).toBe(403);
  expect(early.json.error).toMatchObject({ code: "prefiller_not_allowed" });
  expect(early.json.error?.message).toContain("does not know the prefill pods");
  await until(() => records.some((one) => /answers 403/.test(String(one.why))), "the reason in the log");
  expect(await size()).toBe(0);
  kube.broken = null;
  await until(() => list.size === 1, "the pool");
  expect(await size()).toBe(1);
  expect((await askSplit(sidecar, prefill.address)).status).toBe(200);
  expect((await askSplit(sidecar, `127.0.0.1:${decode.port}`)).status).toBe(403);
});
