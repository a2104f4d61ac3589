// A request that is answered by the filter itself instead of a pod.
import { OK } from "./abi/types";
import { C_REFUSED, count } from "./metrics";
import { answer, Reply } from "./replies";
import { REPLIED, Stream } from "./streams";

/** Answers with an error; false where the host will not, and the request is in the state that it was in. */
export function tryRefuse(s: Stream, r: Reply): bool {
  const before = s.state;
  s.state = REPLIED;
  if (answer(r) == OK) {
    count(C_REFUSED);
    return true;
  }
  s.state = before;
  return false;
}
