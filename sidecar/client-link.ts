// One client and its answer: knows when the client leaves, and cancels what runs for it.
import type { ServerResponse } from "node:http";
import { ClientGone } from "./errors.js";

/** The legs of a request register here; all are cancelled when the client closes before its answer ended. */
export class ClientLink {
  private readonly legs = new Set<(why: Error) => void>();
  private left = false;

  constructor(readonly response: ServerResponse) {
    response.on("close", () => {
      if (response.writableFinished) return;
      this.left = true;
      const why = new ClientGone();
      for (const cancel of this.legs) cancel(why);
    });
  }

  /** True once the client closed before its answer ended. */
  get gone(): boolean {
    return this.left;
  }

  /** Runs `cancel` if the client leaves, at once if it has left. Returns how to take that back. */
  onGone(cancel: (why: Error) => void): () => void {
    if (this.left) cancel(new ClientGone());
    this.legs.add(cancel);
    return () => this.legs.delete(cancel);
  }
}
