import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { MailBuffer } from './mail-buffer.ts'
import type { WebSocketLink } from './websocket-link.ts'

/** Without a socket unread mail is asked for: the first pause between two requests, and the longest. Milliseconds. */
export interface PollPauses {
  readonly first: number
  readonly most: number
}

export interface MailStreamParts {
  readonly link: WebSocketLink
  readonly clock: Clock
  readonly pollMs: PollPauses
  /** Asks by a request for messages that are not acked. */
  unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]>
}

const UNACKED_AT_ONCE = 100

/** The mail of a session as its host gets it, until the signal aborts: by the socket, and where that is not open by requests. */
export async function* mailStream(
  reader: SessionId,
  after: number,
  parts: MailStreamParts,
  signal: AbortSignal,
): AsyncGenerator<readonly StoredMessage[]> {
  const { link, pollMs } = parts
  const buffer = link.open(reader, after)
  try {
    let pauseMs = pollMs.first
    while (!signal.aborted) {
      const batch = buffer.take()
      if (batch.length > 0) {
        yield batch
        link.taken(reader, batch.length)
      } else if (link.isJoined(reader)) {
        await buffer.wait(signal)
      } else if (await poll(reader, buffer, pauseMs, parts, signal)) pauseMs = pollMs.first
      else pauseMs = Math.min(pollMs.most, pauseMs * 2)
    }
  } finally {
    link.close(reader, buffer)
  }
}

/**
 * Asks for mail after a pause, where no socket brings it. A socket that opens ends both the pause and the wait for the answer:
 * the mail it brings must not wait for a request that may take long. Answers whether there was mail.
 */
async function poll(
  reader: SessionId,
  buffer: MailBuffer,
  pauseMs: number,
  { link, clock, unacked }: MailStreamParts,
  signal: AbortSignal,
): Promise<boolean> {
  const over = new AbortController()
  const until = AbortSignal.any([signal, over.signal])
  const asked = clock
    .sleep(pauseMs, until)
    .then(() => unacked(reader, buffer.cursor, UNACKED_AT_ONCE))
    .catch(() => [])
  const found = await Promise.race([asked, untilLinked(reader, buffer, link, until)])
  over.abort()
  if (found === null) return true
  for (const message of found) buffer.put(message)
  return found.length > 0
}

/** Waits until the socket brings this reader's mail, or the signal aborts. */
async function untilLinked(
  reader: SessionId,
  buffer: MailBuffer,
  link: WebSocketLink,
  signal: AbortSignal,
): Promise<null> {
  while (!signal.aborted && !buffer.hasMail && !link.isJoined(reader)) await buffer.wait(signal)
  return null
}
