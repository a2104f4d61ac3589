// Kubernetes label selectors, as plugins have them, and which pods they take.
import type { Path } from "../config/validate.js";
import type { Build } from "./build.js";
import { isObject } from "./merge-patch.js";
import { shown } from "./parameters.js";
import type { LabelSelector } from "./program.js";

const OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"] as const;

/** Reads `matchLabels` and `matchExpressions`. Source: Kubernetes' LabelSelector (meta/v1). */
export function readSelector(labels: unknown, expressions: unknown, path: Path, build: Build): LabelSelector {
  const selector: LabelSelector = { matchLabels: {}, matchExpressions: [] };
  if (labels !== undefined) {
    if (isObject(labels) && Object.values(labels).every((v) => typeof v === "string"))
      selector.matchLabels = labels as Record<string, string>;
    else build.refuse([...path, "matchLabels"], `must be a mapping of labels to texts, not ${shown(labels)}`);
  }
  if (expressions !== undefined && !Array.isArray(expressions))
    build.refuse([...path, "matchExpressions"], `must be a list, not ${shown(expressions)}`);
  for (const [i, given] of (Array.isArray(expressions) ? expressions : []).entries()) {
    const at = [...path, "matchExpressions", i];
    const { key, operator, values = [] } = isObject(given) ? given : {};
    const known = OPERATORS.find((o) => o === operator);
    if (typeof key !== "string" || !known || !Array.isArray(values))
      build.refuse(at, `needs a key, an operator (${OPERATORS.join(", ")}) and values`);
    else if ((known === "In" || known === "NotIn") && values.length === 0)
      build.refuse(at, `operator ${known} needs values`);
    else selector.matchExpressions.push({ key, operator: known, values: values.map(String) });
  }
  return selector;
}

/** Whether a pod's labels meet every requirement. */
export function selects(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  const has = (key: string) => Object.hasOwn(labels, key);
  return (
    Object.entries(selector.matchLabels).every(([key, value]) => has(key) && labels[key] === value) &&
    selector.matchExpressions.every(({ key, operator, values }) => {
      switch (operator) {
        case "In":
          return has(key) && values.includes(labels[key]!);
        case "NotIn":
          return !has(key) || !values.includes(labels[key]!);
        case "AbsentOrIn":
          return !has(key) || values.includes(labels[key]!);
        case "Exists":
          return has(key);
        default:
          return !has(key);
      }
    })
  );
}
