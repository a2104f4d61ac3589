// Passes a pod's event messages on and loses some of them, as a congested network or a full queue does.
import { Publisher, Subscriber } from "zeromq";

export class LossyProxy {
  readonly #in = new Subscriber({ linger: 0, receiveHighWaterMark: 0, reconnectInterval: 100 });
  readonly #out = new Publisher({ linger: 0, sendHighWaterMark: 0 });
  readonly #random: () => number;
  /** Share of messages that are lost, 0 to 1. */
  loss = 0;
  passed = 0;
  lost = 0;
  #pump: Promise<void> | null = null;

  private constructor(random: () => number) {
    this.#random = random;
  }

  /** Subscribes at `from` and publishes at `to`; `random` gives numbers in [0, 1). */
  static async start(from: string, to: string, random: () => number): Promise<LossyProxy> {
    const proxy = new LossyProxy(random);
    await proxy.#out.bind(to);
    proxy.#in.subscribe();
    proxy.#in.connect(from);
    proxy.#pump = proxy.#run();
    return proxy;
  }

  async #run(): Promise<void> {
    for await (const frames of this.#in) {
      if (this.#random() < this.loss) this.lost++;
      else {
        this.passed++;
        await this.#out.send(frames);
      }
    }
  }

  async stop(): Promise<void> {
    this.#in.close();
    await this.#pump?.catch(() => {});
    this.#out.close();
  }
}
