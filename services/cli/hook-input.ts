import type { Readable } from 'node:stream'
import type { Clock } from '#runtime/clock.ts'

/**
 * What comes on a stream until it ends or the time is over, at most `max` bytes of it. What is beyond is read as well, so that the
 * writer is not cut off, and forgotten.
 */
export async function readHookInput(stream: Readable, max: number, withinMs: number, clock: Clock): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  stream.on('data', (chunk: Buffer) => {
    if (size < max) chunks.push(chunk)
    size += chunk.length
  })
  const over = new AbortController()
  const ended = new Promise<void>((resolve) => {
    for (const event of ['end', 'error', 'close']) stream.once(event, () => resolve())
  })
  await Promise.race([ended, clock.sleep(withinMs, over.signal).catch(() => undefined)])
  over.abort()
  stream.destroy()
  return Buffer.concat(chunks).subarray(0, max).toString('utf8')
}
