/**
 * The text of a status, which travels as a header: percent-encoded, which throws on half a pair of surrogates, and in a block
 * of headers that HTTP/2 does not send when it is longer than 64 KiB. Either would leave the caller without an answer.
 */

/** A character takes at most nine bytes when it is encoded. */
const headCharacters = 4000;
const tailCharacters = 2000;

/** The message as it can travel: what was cut from a text is replaced, of a long message the middle is left out. */
export function statusText(message: string): string {
  const short =
    message.length <= headCharacters + tailCharacters
      ? message
      : `${message.slice(0, headCharacters)} … ${message.slice(-tailCharacters)}`;
  return Buffer.from(short).toString();
}
