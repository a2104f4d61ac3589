// From a connector's name to the connector.
import type { SidecarOptions } from "../options.js";
import { PoolCache } from "../pools.js";
import type { Connector } from "./connector.js";
import { mooncake } from "./mooncake.js";
import { nixl } from "./nixl.js";
import { nixlv2 } from "./nixlv2.js";
import { sglang } from "./sglang.js";
import { lmcache, sharedStorage } from "./stored.js";

/** The connector that the options name, and how to let its own connections go. */
export function chooseConnector(options: SidecarOptions): { connector: Connector; destroy(): Promise<void> } {
  const nothing = async () => {};
  switch (options.connector) {
    case "nixlv2":
      return { connector: nixlv2, destroy: nothing };
    case "nixl":
      return { connector: nixl, destroy: nothing };
    case "lmcache":
      return { connector: lmcache, destroy: nothing };
    case "shared-storage":
      return { connector: sharedStorage, destroy: nothing };
    case "sglang":
      return { connector: sglang(options.sglangBootstrapPort), destroy: nothing };
    case "mooncake": {
      // Bootstrap servers speak plain HTTP whatever the pods do.
      const pools = new PoolCache(options.prefillerPools, () => null);
      return { connector: mooncake(options.mooncakeBootstrapPort, pools), destroy: () => pools.destroy() };
    }
  }
}
