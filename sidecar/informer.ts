// What a collection of the Kubernetes API holds, kept up to date: a list, then a watch from the list's version on.
import type { Logger } from "pino";
import { type KubeAccess, KubeConnection, KubeError, type KubeObject, type Resource } from "./kube-api.js";

/** More objects than this are not kept. */
const MOST_OBJECTS = 10_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;

/**
 * Follows a collection until closed. A broken watch goes on from the version it had seen, after a pause that doubles with
 * every failure; a version that the server no longer has (410) means a new list. What was known stays meanwhile.
 */
export class Informer<T> {
  /** What `read` made of each object, by name. */
  readonly objects = new Map<string, T>();
  /** Whether a list has been read; also when the server does not know such a collection. */
  listed = false;
  /** Why it is not up to date, or null. */
  problem: string | null = null;
  private version: string | null = null;
  private connection: KubeConnection | null = null;
  private pause: { timer: NodeJS.Timeout; end: () => void } | null = null;
  private progress = false;
  private closed = false;

  /** @param changed is called whenever objects, `listed` or `problem` may be others. */
  constructor(
    private readonly access: KubeAccess,
    private readonly resource: Resource,
    private readonly log: Logger,
    private readonly read: (object: KubeObject) => T,
    private readonly changed: () => void,
  ) {}

  start(): this {
    void this.run();
    return this;
  }

  close(): void {
    this.closed = true;
    this.connection?.close();
    this.pause?.end();
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (!this.closed) {
      this.progress = false;
      try {
        this.connection = new KubeConnection(this.access);
        if (this.version === null) await this.list(this.connection);
        await this.watch(this.connection, this.version!);
      } catch (error) {
        if (!this.closed) this.failed(error as Error);
      }
      this.connection?.close();
      this.connection = null;
      failures = this.progress ? 0 : failures + 1;
      if (failures > 0 && !this.closed) await this.wait(failures);
    }
  }

  private async list(connection: KubeConnection): Promise<void> {
    const found = new Map<string, T>();
    let from: string | undefined;
    let version: string;
    do {
      const page = await connection.page(this.resource, from);
      for (const object of page.items) this.keep(found, object);
      version = page.metadata.resourceVersion;
      from = page.metadata.continue;
    } while (from && found.size < MOST_OBJECTS);
    if (this.closed) return;
    this.objects.clear();
    for (const [name, object] of found) this.objects.set(name, object);
    this.version = version;
    this.listed = true;
    this.problem = null;
    this.changed();
  }

  private async watch(connection: KubeConnection, version: string): Promise<void> {
    await connection.watch(this.resource, version, ({ type, object }) => {
      if (this.closed) return;
      this.progress = true;
      this.problem = null;
      this.version = object.metadata.resourceVersion ?? this.version;
      if (type === "DELETED") this.objects.delete(object.metadata.name);
      else if (type !== "BOOKMARK") this.keep(this.objects, object);
      this.changed();
    });
  }

  private keep(objects: Map<string, T>, object: KubeObject): void {
    const { name } = object.metadata;
    if (objects.size < MOST_OBJECTS || objects.has(name)) objects.set(name, this.read(object));
    else
      this.log.error(
        { path: this.resource.path, most: MOST_OBJECTS },
        "too many objects; the rest is left out",
      );
  }

  private failed(error: Error): void {
    const status = error instanceof KubeError ? error.status : 0;
    if (status === 410) {
      this.version = null;
      return;
    }
    if (status === 404 && this.version === null) {
      this.objects.clear();
      this.listed = true;
    }
    const before = this.problem;
    this.problem = error.message || error.name;
    if (this.problem !== before) {
      this.log.warn({ path: this.resource.path, why: this.problem }, "the Kubernetes API is asked again");
      this.changed();
    }
  }

  // Half of the pause is random, so that the sidecars of a fleet do not come back all at once.
  private wait(failures: number): Promise<void> {
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 16));
    return new Promise((done) => {
      const end = () => {
        clearTimeout(timer);
        this.pause = null;
        done();
      };
      const timer = setTimeout(end, longest * (0.5 + Math.random() / 2)).unref();
      this.pause = { timer, end };
    });
  }
}
