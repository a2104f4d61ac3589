// The session of a request: its header, a cookie, a field of the body, the credential; the first that is there.
import { cacheKeyLen, cacheKeyPtr, userLen, userPtr } from "../core/scan";
import {
  cookieValue,
  cookieValueLen,
  cookieValuePtr,
  deriveSession,
  keyedSession,
  validSession,
} from "../core/session";
import { sipHi, sipLo, siphash128 } from "../shared/siphash";
import { text } from "./abi/memory";
import { MAP_REQUEST } from "./abi/types";
import { sessionCookie, sessionKey0, sessionKey1 } from "./configuration";
import { random, scratch, setHeader } from "./host";
import * as headers from "./request-headers";
import { sessionAt, Stream } from "./streams";

const SESSION = text("x-session-id");

/** The session as far as headers give it: a valid header, else a cookie's keyed hash. */
export function earlySession(s: Stream): void {
  if (headers.sessionSize && validSession(headers.sessionAt, headers.sessionSize)) {
    s.keepSession = true;
    s.sessionSize = <u16>headers.sessionSize;
    memory.copy(sessionAt(s), headers.sessionAt, headers.sessionSize);
    return;
  }
  siphash128(sessionKey0, sessionKey1, headers.credentialAt, headers.credentialSize);
  s.credentialLo = headers.credentialSize ? sipLo : 0;
  s.credentialHi = headers.credentialSize ? sipHi : 0;
  for (let i: u32 = 0; i < headers.cookieCount; i++) {
    if (cookieValue(headers.cookieAt(i), headers.cookieSize(i), sessionCookie.at, <u32>sessionCookie.size)) {
      s.sessionSize = <u16>keyedSession(sessionKey0, sessionKey1, cookieValuePtr, cookieValueLen, sessionAt(s));
      return;
    }
  }
}

/** A session for what has no body: the credential's hash, or chance where there is none, so that nothing piles up. */
export function headerSession(s: Stream): void {
  if (s.sessionSize) return;
  const p = scratch(16);
  if (!p) return;
  store<u64>(p, s.credentialLo || s.credentialHi ? s.credentialLo : random());
  store<u64>(p, s.credentialHi, 8);
  s.sessionSize = <u16>keyedSession(sessionKey0, sessionKey1, p, 16, sessionAt(s));
}

/** The session of a request whose headers gave none, from its scanned body. */
export function bodySession(s: Stream): void {
  if (s.sessionSize) return;
  const useKey = cacheKeyLen > 0;
  s.sessionSize = <u16>deriveSession(
    sessionKey0,
    sessionKey1,
    s.credentialLo,
    s.credentialHi,
    useKey ? cacheKeyPtr : userPtr,
    useKey ? cacheKeyLen : userLen,
    sessionAt(s),
  );
}

/** Tells the pod the session that the client did not name itself. */
export function sessionHeader(s: Stream): void {
  if (!s.keepSession && s.sessionSize) setHeader(MAP_REQUEST, SESSION, sessionAt(s), s.sessionSize);
}
