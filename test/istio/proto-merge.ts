// Go's proto.Merge as Istio uses it for MERGE patches, on the JSON form of Envoy's messages.

export type Json = null | boolean | number | string | Json[] | Message;
/** A protobuf message as JSON with snake_case names; an Any carries "@type". */
export interface Message {
  // biome-ignore lint/suspicious/noExplicitAny: messages of many types, whose fields the tests name themselves
  [field: string]: any;
}

/** Fields that are maps in Envoy's API: an entry is replaced, not merged. */
const MAPS = new Set([
  "typed_extension_protocol_options",
  "typed_per_filter_config",
  "filter_metadata",
  "typed_filter_metadata",
]);

export const isMessage = (value: unknown): value is Message =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Merges `patch` into `target` in place: messages merge field by field, lists grow at their end, map entries, Anys,
 * durations and other scalars are replaced (protobuf-go `proto.Merge`, with Istio's exception for durations).
 * @throws on a zero value: unset and zero are the same to the merge, so such a patch would do nothing.
 */
export function protoMerge(target: Message, patch: Message): void {
  for (const [field, value] of Object.entries(patch)) {
    const old = target[field] as Json | undefined;
    if (value === 0 || value === false || value === "" || value === null)
      throw new Error(`${field}: ${JSON.stringify(value)} cannot be merged, it counts as unset`);
    if (Array.isArray(value))
      target[field] = [...((old as Json[] | undefined) ?? []), ...structuredClone(value)];
    else if (MAPS.has(field)) target[field] = { ...(old as Message | undefined), ...structuredClone(value) };
    else if (isMessage(value) && isMessage(old) && !("@type" in value)) protoMerge(old, value);
    else target[field] = structuredClone(value);
  }
}

/** Merges two Anys of one type, as Istio does for the configuration of network filters. @throws when the types differ. */
export function mergeAny(target: Message, patch: Message): void {
  const { "@type": type, ...fields } = patch;
  if (type !== target["@type"]) throw new Error(`${type} cannot be merged into ${target["@type"]}`);
  protoMerge(target, fields);
}
