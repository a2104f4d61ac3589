// Decisions that the built filter records under load, taken as the agent takes them and read as `warmgate replay` does.
import { DecisionLog } from "../../agent/decisions/log.js";
import type { Decision } from "../../agent/decisions/record.js";
import type { ReplayFile } from "../../agent/decisions/replay.js";
import { decisionsView } from "../../agent/decisions/view.js";
import type { Random } from "../../simulate/random.js";
import type { Host } from "./host.js";
import { policy, type TestAgent } from "./table.js";

export class DecisionRecorder {
  readonly #log = new DecisionLog();
  #read = 0;

  /** Has the host record every decision. */
  constructor(
    readonly host: Host,
    readonly agent: TestAgent,
  ) {
    host.receive(agent.rules({ decisions: { sampleRate: 1 } }));
    this.#log.runs(policy.version, agent.wire.policyProgram());
  }

  /** Lets some time pass, and takes what was recorded; `also` sees every message that came. */
  collect(random: Random, also: (up: ReturnType<TestAgent["wire"]["decodeUp"]>) => void = () => {}): void {
    this.host.tick(50 + random.below(300));
    for (const frame of this.host.frames().slice(this.#read)) {
      const up = this.agent.wire.decodeUp(frame);
      if (up?.kind === "decision") this.#log.take(up as Decision, 0);
      also(up);
    }
    this.#read = this.host.sent.length;
  }

  /** What the agent's route answers with `replay=true`. */
  file(): ReplayFile {
    const view = decisionsView(this.#log, this.#log.latest(1000), () => null, true);
    return JSON.parse(JSON.stringify(view));
  }
}
