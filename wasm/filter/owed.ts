// What the host refused to do for a held request, an answer or its resuming, is tried again from the tick.
import { continueRequest, effectiveContext } from "./host";
import { OK } from "./abi/types";
import { C_REFUSED, count } from "./metrics";
import { answer, RESERVED } from "./replies";
import { REFUSING, REPLIED, setOwed, Stream, streamWalk, walkNext } from "./streams";

/** Half a second of ticks; what fails longer is left to the request's own timeouts. */
// @ts-ignore: decorator
@inline
const TRIES: u8 = 100;

/** Resumes the request of the effective context, at once or from the tick. */
export function resume(s: Stream): void {
  if (continueRequest() != OK) setOwed(s, true);
}

/** Does again what is owed. */
export function owedTick(): void {
  for (let s = streamWalk(0); s; s = streamWalk(walkNext)) {
    if (!s.owed) continue;
    if (++s.tries == TRIES) setOwed(s, false);
    if (effectiveContext(s.id) == OK && pay(s)) setOwed(s, false);
  }
}

function pay(s: Stream): bool {
  if (s.state != REFUSING) return continueRequest() == OK;
  if (answer(RESERVED) != OK) return false;
  s.state = REPLIED;
  count(C_REFUSED);
  return true;
}
