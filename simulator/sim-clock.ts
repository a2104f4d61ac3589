// Simulated time: real monotonic time times a factor.

/** Simulated time as the engine reads it. */
export interface Clock {
  /** Simulated seconds per real second. */
  readonly scale: number;
  /** Simulated milliseconds now. */
  now(): number;
  /** Real milliseconds until a simulated time; negative when it has passed. */
  realMsUntil(simulated: number): number;
}

/** Converts between real and simulated milliseconds, both counted from the process's start. */
export class SimClock implements Clock {
  readonly scale: number;

  constructor(scale: number) {
    if (!(scale > 0)) throw new RangeError(`time scale ${scale} must be above 0`);
    this.scale = scale;
  }

  now(): number {
    return performance.now() * this.scale;
  }

  realMsUntil(simulated: number): number {
    return simulated / this.scale - performance.now();
  }
}
