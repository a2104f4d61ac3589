// SGLang: one body to both pods at once; they meet in a room on the prefill pod's bootstrap server.
import { randomInt } from "node:crypto";
import type { Connector } from "./connector.js";

/** @param bootstrapPort of the prefill pods' bootstrap server. */
export function sglang(bootstrapPort: number): Connector {
  return {
    order: "concurrent",
    oneToken: false,
    // An engine in decode mode waits for a room: it cannot prefill.
    localPrefill: false,
    ownFields: [],
    clientFields: [],
    exchange: ({ host }) => {
      const changes = new Map([
        ["bootstrap_host", JSON.stringify(host)],
        ["bootstrap_port", String(bootstrapPort)],
        // Below 2^48, so that every JSON parser on the way keeps it exact.
        ["bootstrap_room", String(randomInt(1, 2 ** 47))],
      ]);
      return { prefill: changes, prefillHeaders: [], transfer: { changes, blocks: 0, tokens: 0 } };
    },
  };
}
