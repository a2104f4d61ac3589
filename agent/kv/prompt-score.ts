// What each pod has cached of a prompt, for whoever asks over HTTP: read by the filter's code, answered from the index
// that gateways match against.
import type { Pod, PodRegistry } from "../load/pod-registry.js";
import type { PoolModel } from "../model/model-service.js";
import { bytesOfTokens } from "../model/token-bytes.js";
import { MAX_PROMPT_BYTES, type PromptApi, type PromptProblem, type PromptReader } from "../prompt-reader.js";
import type { Wire } from "../wire.js";
import type { AnnouncedBlocks } from "./announced-blocks.js";

/** What is scored: a request as an engine would get it, token ids, or engine block hashes. */
export type Scored =
  | { kind: "request"; api: PromptApi; body: Uint8Array }
  /** Token ids of the prompt, with the whole request: its other fields count as in any. */
  | { kind: "tokens"; api: PromptApi; body: Uint8Array; ids: number[] }
  | { kind: "blocks"; hashes: BigUint64Array };

export interface PodScore {
  pod: Pod;
  /** Leading blocks that the pod holds without a hole, and all blocks: text blocks, or those that were asked for. */
  present: number;
  total: number;
  /** Prompt tokens that an engine would serve from its cache; null where only block hashes were given. */
  cachedTokens: number | null;
}

export interface PromptScore {
  /** Whether the prompt was read exactly; where it was not, nothing is claimed to be cached. */
  exact: boolean;
  reasons: string[];
  scores: PodScore[];
}

export class PromptScorer {
  readonly #wire: Wire;
  readonly #pods: PodRegistry;
  readonly #announced: AnnouncedBlocks;
  readonly #reader: PromptReader;
  readonly #blockBytes: number;
  #modelsVersion = -1;

  constructor(
    wire: Wire,
    pods: PodRegistry,
    announced: AnnouncedBlocks,
    reader: PromptReader,
    blockBytes: number,
  ) {
    this.#wire = wire;
    this.#pods = pods;
    this.#announced = announced;
    this.#reader = reader;
    this.#blockBytes = blockBytes;
  }

  /** Scores a prompt of `model` for these pods. */
  score(scored: Scored, model: PoolModel, pods: Pod[]): PromptScore | PromptProblem {
    if (scored.kind === "blocks") {
      const { hashes } = scored;
      return {
        exact: true,
        reasons: [],
        scores: pods.map((pod) => ({
          pod,
          present: this.#heldRun(pod, hashes),
          total: hashes.length,
          cachedTokens: null,
        })),
      };
    }
    this.#readModels();
    const prompt = this.#reader.read(scored.body, scored.api);
    if (typeof prompt === "string") return prompt;
    const ids = scored.kind === "tokens" ? scored.ids : null;
    if (ids ? prompt.reasonsOfTokens.length > 0 : !prompt.exact)
      return this.#nothing(ids ? prompt.reasonsOfTokens : prompt.reasons, pods);
    const root = prompt.salt.length > 0 ? this.#wire.saltedRoot(prompt.root, prompt.salt) : prompt.root;
    if (!ids) return this.#textScore(root, prompt.text, prompt.whole, pods);
    const bytes = bytesOfTokens(model.table, ids, MAX_PROMPT_BYTES);
    if (!bytes) return this.#nothing(["a token id stands for no text"], pods);
    return this.#textScore(root, bytes, bytes.length < MAX_PROMPT_BYTES, pods);
  }

  #heldRun(pod: Pod, hashes: BigUint64Array): number {
    let held = this.#wire.heldRun(pod.slot, hashes);
    // What was announced in the JSON form fills holes of what engines' own events tell.
    const now = performance.now();
    while (held < hashes.length && this.#announced.has(pod.slot, hashes[held]!, now))
      held += 1 + this.#wire.heldRun(pod.slot, hashes.subarray(held + 1));
    return held;
  }

  #readModels(): void {
    if (this.#modelsVersion === this.#wire.modelsVersion) return;
    this.#modelsVersion = this.#wire.modelsVersion;
    this.#reader.setModels(this.#wire.modelsSection());
  }

  #nothing(reasons: string[], pods: Pod[]): PromptScore {
    return {
      exact: false,
      reasons,
      scores: pods.map((pod) => ({ pod, present: 0, total: 0, cachedTokens: 0 })),
    };
  }

  #textScore(root: bigint, bytes: Uint8Array, whole: boolean, pods: Pod[]): PromptScore {
    const total = Math.floor(bytes.length / this.#blockBytes);
    const endsOnBlock = whole && total * this.#blockBytes === bytes.length;
    const held = this.#wire.scoreText(root, bytes);
    return {
      exact: true,
      reasons: [],
      scores: pods.map((pod) => {
        const { blocks, tokens, tokensBefore } = held(pod.slot);
        // An engine computes at least the last token, so a whole prompt is never served from its cache.
        const cached = endsOnBlock && blocks === total ? tokensBefore : tokens;
        return {
          pod,
          present: blocks,
          total,
          cachedTokens: cached - (cached % this.#pods.blockTokens(pod)),
        };
      }),
    };
  }
}
