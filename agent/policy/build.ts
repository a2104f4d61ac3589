// What plugins allocate while a policy is compiled: request headers, custom columns, label bits, instructions.
import type { Mistake, Path } from "../config/validate.js";
import { compileExpression } from "./expression.js";
import type { ColumnSource, LabelSelector, ProgramCode } from "./program.js";

/** As wasm/shared/program-layout.ts has them. */
const MAX_COLUMNS = 16;
const MAX_SELECTORS = 64;
const MAX_HEADERS = 4;
const MAX_CODE = 512;

/** The shared parts of one program. */
export class Build {
  readonly headers: string[] = [];
  readonly columns: ColumnSource[] = [];
  readonly selectors: LabelSelector[] = [];
  readonly code: ProgramCode[] = [];
  adapters = false;
  /** Attributes that scrapers and plugin modules provide; null = not known here, every name may be one. */
  readonly #attributes: ReadonlySet<string>;
  readonly #mistakes: Mistake[];

  constructor(attributes: ReadonlySet<string>, mistakes: Mistake[]) {
    this.#attributes = attributes;
    this.#mistakes = mistakes;
  }

  refuse(path: Path, message: string): void {
    this.#mistakes.push({ path, message });
  }

  header(name: string, path: Path): number {
    const known = this.headers.indexOf(name.toLowerCase());
    if (known >= 0) return known;
    if (name.length > 62 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
      this.refuse(path, `${JSON.stringify(name)} is not the name of a header, of at most 62 characters`);
    else if (this.headers.length === MAX_HEADERS)
      this.refuse(path, `more than ${MAX_HEADERS} request headers are looked at`);
    else return this.headers.push(name.toLowerCase()) - 1;
    return 0;
  }

  /** Column of an attribute that something provides. */
  attribute(name: string, path: Path): number {
    if (!this.#attributes.has(name))
      this.refuse(
        path,
        `nothing provides ${JSON.stringify(name)}; a generic-prometheus-scraper, a core-metrics-extractor with customMetrics or a module (--plugin) does${
          this.#attributes.size > 0 ? `; there are: ${[...this.#attributes].join(", ")}` : ""
        }`,
      );
    return this.#column({ from: "attribute", name }, path);
  }

  label(label: string, path: Path): number {
    return this.#column({ from: "label", label }, path);
  }

  /** The first of two columns, with the ends of a label's range. */
  range(label: string, path: Path): number {
    const known = this.columns.findIndex((c) => c.from === "range-start" && c.label === label);
    if (known >= 0) return known;
    const first = this.#column({ from: "range-start", label }, path);
    this.#column({ from: "range-end", label }, path);
    return first;
  }

  #column(source: ColumnSource, path: Path): number {
    const text = JSON.stringify(source);
    const known = this.columns.findIndex((c) => JSON.stringify(c) === text);
    if (known >= 0) return known;
    if (this.columns.length === MAX_COLUMNS) {
      this.refuse(path, `more than ${MAX_COLUMNS} custom columns are needed`);
      return 0;
    }
    return this.columns.push(source) - 1;
  }

  /** Bit of a label selector. */
  selector(selector: LabelSelector, path: Path): number {
    const text = JSON.stringify(selector);
    const known = this.selectors.findIndex((s) => JSON.stringify(s) === text);
    if (known >= 0) return known;
    if (this.selectors.length === MAX_SELECTORS) {
      this.refuse(path, `more than ${MAX_SELECTORS} label selectors are needed`);
      return 0;
    }
    return this.selectors.push(selector) - 1;
  }

  /** First instruction of an expression and their number. */
  expression(text: string, path: Path): [first: number, count: number] {
    let code: ProgramCode[];
    try {
      code = compileExpression(text, (name) =>
        this.#attributes.has(name) ? this.attribute(name, path) : null,
      );
    } catch (error) {
      this.refuse(path, (error as Error).message);
      return [0, 1];
    }
    if (this.code.length + code.length > MAX_CODE)
      this.refuse(path, `all expressions together are longer than ${MAX_CODE} instructions`);
    const first = this.code.length;
    this.code.push(...code);
    return [first, code.length];
  }
}
