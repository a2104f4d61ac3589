// Every manifest against the published schemas: Istio's CRDs, the Gateway API and Kubernetes itself.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway, HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import { WasmPlugin } from "@kubernetes-models/istio/extensions.istio.io/v1alpha1";
import { DestinationRule } from "@kubernetes-models/istio/networking.istio.io/v1";
import { EnvoyFilter } from "@kubernetes-models/istio/networking.istio.io/v1alpha3";
import { Deployment } from "kubernetes-models/apps/v1";
import { Role, RoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1";
import { ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount } from "kubernetes-models/v1";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { ISTIO, type Manifest, type Placed, readManifests, resourcesOf } from "./manifests.js";

type Model = new (data: never) => { validate(): void; apiVersion: string; kind: string };

/** Class of each kind by apiVersion, and the module that declares it. */
const MODULES: Record<string, [string, Record<string, Model>]> = {
  "gateway.networking.k8s.io/v1": [
    "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1",
    { Gateway, HTTPRoute },
  ],
  "networking.istio.io/v1": ["@kubernetes-models/istio/networking.istio.io/v1", { DestinationRule }],
  "networking.istio.io/v1alpha3": ["@kubernetes-models/istio/networking.istio.io/v1alpha3", { EnvoyFilter }],
  "extensions.istio.io/v1alpha1": ["@kubernetes-models/istio/extensions.istio.io/v1alpha1", { WasmPlugin }],
  "apps/v1": ["kubernetes-models/apps/v1", { Deployment }],
  "rbac.authorization.k8s.io/v1": ["kubernetes-models/rbac.authorization.k8s.io/v1", { Role, RoleBinding }],
  v1: ["kubernetes-models/v1", { ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount }],
};

const placed = [...resourcesOf("wasmplugin"), ...readFixtures()];

/** The captured EnvoyFilter, as a control of the schemas. */
function readFixtures(): Placed[] {
  const file = join("..", "test", "istio", "fixtures", "envoy-filter.yaml");
  return readManifests(join(ISTIO, file)).map((manifest) => ({ file, manifest }));
}

const name = ({ file, manifest }: Placed) => `${manifest.kind} ${manifest.metadata.name} of ${file}`;
function modelOf({ apiVersion, kind }: Manifest): Model {
  const model = MODULES[apiVersion]?.[1][kind];
  if (!model) throw new Error(`no schema for ${apiVersion} ${kind}`);
  return model;
}

/** Keys, values and types that the type declarations of the schemas' packages do not allow, as tsc words them. */
function typeErrors(manifests: Manifest[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-schemas-"));
  try {
    symlinkSync(join(packageRoot(), "node_modules"), join(folder, "node_modules"));
    const source = manifests.map(
      (m, i) =>
        `import type { I${m.kind} as T${i} } from "${MODULES[m.apiVersion]![0]}";\nexport const m${i}: T${i} = ${JSON.stringify(m)};\n`,
    );
    writeFileSync(join(folder, "manifests.ts"), source.join(""));
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    const tsc = join(packageRoot(), "node_modules", "typescript", "bin", "tsc");
    const flags = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"];
    const run = spawnSync(process.execPath, [tsc, ...flags, "--pretty", "false", "manifests.ts"], {
      cwd: folder,
      encoding: "utf8",
    });
    return run.stdout.split("\n").filter((line) => line.includes("error TS"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("the manifests", () => {
  test.each(placed.map((p) => [name(p), p.manifest] as const))("validate: %s", (_, manifest) => {
    const model = modelOf(manifest);
    expect(() => new model(manifest as never).validate()).not.toThrow();
  });

  test("have no key that the published types do not know", () => {
    expect(typeErrors(placed.map((p) => p.manifest))).toEqual([]);
  });

  test("stand in one namespace, which every file says", () => {
    const namespaces = resourcesOf("wasmplugin").map((p) => p.manifest.metadata.namespace);
    expect(new Set(namespaces)).toEqual(new Set(["llm-d"]));
  });

  test("are all listed in a kustomization", () => {
    const files = readdirSync(ISTIO, { recursive: true, encoding: "utf8" })
      .filter((f) => f.endsWith(".yaml") && !f.endsWith("kustomization.yaml"))
      .sort();
    expect([...new Set(resourcesOf("wasmplugin").map((p) => p.file))].sort()).toEqual(files);
  });
});

describe("the schemas", () => {
  const filter = placed.find((p) => p.manifest.metadata.name === "warmgate-routing")!.manifest;
  test("refuse a wrong value and a misspelt key", () => {
    const wrong = structuredClone(filter);
    wrong["spec"].configPatches[0].applyTo = "NETWORK_FILTERS";
    expect(() => new (modelOf(wrong))(wrong as never).validate()).toThrow("applyTo");
    const misspelt = structuredClone(filter);
    misspelt["spec"].configPatches[0].match.contxt = "GATEWAY";
    expect(typeErrors([misspelt]).join()).toContain("contxt");
  });
});
