// A request of a trace or workload, without text: what matters for routing is its time, its lengths and its blocks.

export interface SimRequest {
  /** Seconds after the first one. */
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

/** Requests in order of arrival. */
export interface Load {
  name: string;
  requests: SimRequest[];
  /** Tokens of a block. */
  blockTokens: number;
}
