// The manifests as kubectl would read them: what a kustomization lists, file by file.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { packageRoot } from "../../agent/package-root.js";
import type { Message } from "./proto-merge.js";

/** A Kubernetes object. */
export interface Manifest extends Message {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
}

/** A manifest and the file it stands in, relative to istio/. */
export interface Placed {
  file: string;
  manifest: Manifest;
}

/** Folder of the manifests. */
export const ISTIO = join(packageRoot(), "istio");

/** Every object of a YAML file. @throws on a file that is not YAML. */
export function readManifests(path: string): Manifest[] {
  return parseAllDocuments(readFileSync(path, "utf8"), { uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${document.errors[0]!.message}`);
    return document.toJS() as Manifest;
  });
}

/** What the `resources` of a kustomization under istio/ name, without its patches. */
export function resourcesOf(folder: string): Placed[] {
  const { resources } = parse(readFileSync(join(ISTIO, folder, "kustomization.yaml"), "utf8")) as {
    resources: string[];
  };
  return resources.flatMap((resource) => {
    const path = join(folder, resource);
    if (!resource.endsWith(".yaml")) return resourcesOf(path);
    return readManifests(join(ISTIO, path)).map((manifest) => ({ file: path, manifest }));
  });
}

/** The one object of that kind and name. @throws when there is none. */
export function manifest(placed: Placed[], kind: string, name: string): Manifest {
  const found = placed.find((p) => p.manifest.kind === kind && p.manifest.metadata.name === name);
  if (!found) throw new Error(`no ${kind} ${name} in ${placed.map((p) => p.file).join(", ")}`);
  return found.manifest;
}

/** A file of test/istio/fixtures. */
export function fixture(name: string): string {
  return join(dirname(ISTIO), "test", "istio", "fixtures", name);
}
