// Certificates from files, read again when they change.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, rootCertificates } from "node:tls";
import type { Logger } from "pino";
import { ConfigError } from "../agent/errors.js";
import { watchFiles } from "./file-watch.js";
import type { KeyedCertificate } from "./self-signed.js";

/** A value from files that may be replaced while the process runs. */
export interface Watched<T> {
  current(): T;
  close(): void;
}

/**
 * `tls.crt` and `tls.key` of a folder, as Kubernetes mounts a TLS secret. A pair that does not fit leaves the last one.
 * @param changed told of every good new pair.
 * @throws ConfigError when they are not usable at the start.
 */
export function watchedCertificate(
  folder: string,
  log: Logger,
  changed: (pair: KeyedCertificate) => void,
): Watched<KeyedCertificate> {
  const files = [join(folder, "tls.crt"), join(folder, "tls.key")];
  const read = (): KeyedCertificate => {
    const pair = { cert: readFileSync(files[0]!, "utf8"), key: readFileSync(files[1]!, "utf8") };
    createSecureContext(pair);
    return pair;
  };
  return watched(files, read, `--cert-path ${folder}: tls.crt and tls.key`, log, changed);
}

/**
 * The certificates of a file and the system's own: what upstream servers may be signed by.
 * @throws ConfigError when it is not readable at the start.
 */
export function watchedAuthorities(file: string, log: Logger, changed: () => void): Watched<string> {
  const read = () => {
    const ca = readFileSync(file, "utf8");
    createSecureContext({ ca });
    if (!ca.includes("-----BEGIN CERTIFICATE-----")) throw new Error("it has no PEM certificate");
    return [ca, ...rootCertificates].join("\n");
  };
  return watched([file], read, `--ca-file ${file}`, log, changed);
}

function watched<T>(
  files: string[],
  read: () => T,
  what: string,
  log: Logger,
  changed: (value: T) => void,
): Watched<T> {
  let value: T;
  const stop = watchFiles(files, () => {
    try {
      value = read();
    } catch (error) {
      // Certificate and key are seldom replaced in one instant: the next change brings the other half.
      log.warn(
        { files, why: (error as Error).message },
        "changed certificates are not usable yet; the last ones stay",
      );
      return;
    }
    log.info({ files }, "certificates were read again");
    changed(value);
  });
  try {
    value = read();
  } catch (error) {
    stop();
    throw new ConfigError(`${what} not usable: ${(error as Error).message}`);
  }
  return { current: () => value, close: stop };
}
