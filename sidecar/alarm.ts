// Something that must not pass in silence, and must not fill the log either.
import type { Logger } from "pino";

const MINUTE_MS = 60_000;

/** Logs the first occurrence at once and then, once a minute, how many there were and the latest one's details. */
export class Alarm {
  private count = 0;
  private details: object = {};
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly log: Logger,
    private readonly message: string,
  ) {}

  raise(details: object): void {
    this.count++;
    this.details = details;
    if (!this.timer) this.tell();
  }

  close(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
  }

  private tell(): void {
    this.timer = null;
    if (this.count === 0) return;
    this.log.warn({ ...this.details, count: this.count }, this.message);
    this.count = 0;
    this.timer = setTimeout(() => this.tell(), MINUTE_MS);
    this.timer.unref();
  }
}
