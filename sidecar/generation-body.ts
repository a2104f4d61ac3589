// A client's generation request as bytes: what is reserved in it, and its two variants for prefill and decode.
import {
  type CompletionApi,
  EXTRA_ARGUMENTS,
  LIMIT_FIELDS,
  NESTED_ARGUMENTS,
  REQUIRED_LIMITS,
  REQUIRED_SAMPLING_LIMITS,
  RESERVED_FIELDS,
} from "./completion-api.js";
import {
  applyEdits,
  editsOf,
  isObject,
  type JsonChanges,
  type JsonEdit,
  type JsonObjectScan,
  scanObject,
} from "./json-edit.js";

const ONE = "1";
const LIMITS = new Set<string>(LIMIT_FIELDS);
const NESTED = new Set<string>(NESTED_ARGUMENTS);
const SAMPLING = new Set<string>([...LIMIT_FIELDS, EXTRA_ARGUMENTS]);
const WATCHED = [...RESERVED_FIELDS, ...NESTED_ARGUMENTS, ...LIMIT_FIELDS, "stream", "stream_options"];

/** Which fields a sidecar watches; made once, since connectors differ. */
export class BodyRules {
  /** Fields that a client may not set. */
  readonly reserved: ReadonlySet<string>;
  readonly watched: ReadonlySet<string>;

  /**
   * @param ownFields top-level fields that only this connector sets.
   * @param clientFields reserved fields that clients of this connector set by design.
   */
  constructor(ownFields: readonly string[] = [], clientFields: readonly string[] = []) {
    this.reserved = new Set(
      [...RESERVED_FIELDS, ...ownFields].filter((name) => !clientFields.includes(name)),
    );
    this.watched = new Set([...WATCHED, ...this.reserved, ...clientFields]);
  }
}

/** A scanned request body. The bytes are never parsed and printed again: variants are edits of them. */
export class GenerationBody {
  private readonly scan: JsonObjectScan;

  /** @throws JsonSyntaxError when the body is not one JSON object. */
  constructor(
    readonly bytes: Buffer,
    private readonly rules: BodyRules,
  ) {
    this.scan = scanObject(bytes, rules.watched);
  }

  /** The reserved field a client set, by its path in the body, or null. Escaped and repeated keys count. */
  reservedField(): string | null {
    for (const member of this.scan.members) {
      if (this.rules.reserved.has(member.name)) return member.name;
      if (!NESTED.has(member.name) || !isObject(this.bytes, member)) continue;
      const { found } = this.nestedReserved(member.valueStart, member.valueEnd, member.name);
      if (found !== null) return found;
    }
    return null;
  }

  /** The same body without any reserved field; this one when it has none. */
  withoutReserved(): GenerationBody {
    const gone = new Map<string, null>();
    const nested: JsonEdit[] = [];
    for (const member of this.scan.members) {
      if (this.rules.reserved.has(member.name)) gone.set(member.name, null);
      else if (NESTED.has(member.name) && isObject(this.bytes, member)) {
        nested.push(...this.nestedReserved(member.valueStart, member.valueEnd, member.name).edits);
      }
    }
    if (gone.size === 0 && nested.length === 0) return this;
    return new GenerationBody(applyEdits(this.bytes, [...editsOf(this.scan, gone), ...nested]), this.rules);
  }

  /** Whether the client set a field that this body's rules watch. */
  has(name: string): boolean {
    return this.scan.members.some((member) => member.name === name);
  }

  /** This body with `changes`, all else byte for byte. Names in `changes` must be watched. */
  with(changes: JsonChanges): Buffer {
    return applyEdits(this.bytes, editsOf(this.scan, changes));
  }

  /** The prefill variant: one token, not streamed, with the connector's `changes`. */
  forPrefill(api: CompletionApi, changes: JsonChanges): Buffer {
    const all = new Map<string, string | Buffer | null>(changes);
    for (const name of REQUIRED_LIMITS[api]) all.set(name, ONE);
    const edits: JsonEdit[] = [];
    let sampled = false;
    for (const member of this.scan.members) {
      if (LIMITS.has(member.name)) all.set(member.name, ONE);
      if (member.name !== "sampling_params") continue;
      sampled = true;
      if (isObject(this.bytes, member))
        edits.push(...this.samplingEdits(api, member.valueStart, member.valueEnd));
      else if (api === "generate") all.set(member.name, SAMPLING_LIMITS);
    }
    if (api === "generate" && !sampled) all.set("sampling_params", SAMPLING_LIMITS);
    all.set("stream", "false");
    all.set("stream_options", null);
    // Where one of several sampling_params is an object and another is not, the replacement covers the inner edits.
    const outer = editsOf(this.scan, all);
    const inner = all.has("sampling_params") ? [] : edits;
    return applyEdits(this.bytes, [...outer, ...inner]);
  }

  private samplingEdits(api: CompletionApi, from: number, to: number): JsonEdit[] {
    const scan = scanObject(this.bytes, SAMPLING, from, to);
    const changes = new Map<string, string>();
    if (api === "generate") for (const name of REQUIRED_SAMPLING_LIMITS) changes.set(name, ONE);
    for (const member of scan.members) if (LIMITS.has(member.name)) changes.set(member.name, ONE);
    return editsOf(scan, changes);
  }

  // Reserved fields in vllm_xargs, or in extra_args of sampling_params.
  private nestedReserved(
    from: number,
    to: number,
    path: string,
  ): { found: string | null; edits: JsonEdit[] } {
    const inside = path === "sampling_params" ? SAMPLING : this.rules.reserved;
    const scan = scanObject(this.bytes, inside, from, to);
    const gone = new Map<string, null>();
    const edits: JsonEdit[] = [];
    let found: string | null = null;
    for (const member of scan.members) {
      if (this.rules.reserved.has(member.name)) {
        found ??= `${path}.${member.name}`;
        gone.set(member.name, null);
      } else if (member.name === EXTRA_ARGUMENTS && isObject(this.bytes, member)) {
        const deeper = this.nestedReserved(member.valueStart, member.valueEnd, `${path}.${EXTRA_ARGUMENTS}`);
        found ??= deeper.found;
        edits.push(...deeper.edits);
      }
    }
    return { found, edits: [...edits, ...editsOf(scan, gone)] };
  }
}

const SAMPLING_LIMITS = `{${REQUIRED_SAMPLING_LIMITS.map((name) => `"${name}":${ONE}`).join(",")}}`;
