// A request of a trace or workload, without text: what matters for routing is its time, its lengths and its blocks.

export interface SimRequest {
  /** Seconds after its stage begins. */
  arrival: number;
  /** Tokens. */
  prompt: number;
  /** Tokens, at least 1. */
  output: number;
  /** Ids of the prompt's blocks from its start; equal ids are equal text behind equal text. The last may be partial. */
  blocks: readonly number[];
  /** Number of the conversation or client, 0 for none. */
  session: number;
}

/** What comes to a fleet: stages, each begun when all requests of the one before have ended and a pause is over. */
export interface Load {
  name: string;
  /** Requests of each stage in order of arrival; no stage is empty. */
  stages: SimRequest[][];
  /** Seconds. */
  pause: number;
  /** Tokens of a block. */
  blockTokens: number;
}
